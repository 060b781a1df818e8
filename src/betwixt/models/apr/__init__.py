"""APR-VFI: forward warping, and synthesis with patches routed by their alignment."""

from functools import partial

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_apr = partial(
    ModelInfo,
    paper="Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation",
    weights="yours",
    network="betwixt.models.apr.network:APR",
)
_CONFIGS = "betwixt.models.apr.network:CONFIGS"
_SUMMARY = "forward warping and synthesis"

MODELS = (
    _apr("apr-static", f"{_SUMMARY}, without routing; any time", 2_206_600, f"{_CONFIGS}[apr-static]"),
    _apr("apr", f"{_SUMMARY}, patches routed by their alignment; any time", 2_211_726, f"{_CONFIGS}[apr]"),
)
