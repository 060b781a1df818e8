"""RIFE: real-time intermediate flow estimation (ECCV 2022), and RIFE 4 of Practical-RIFE."""

from functools import partial

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022"
_NETWORK = "betwixt.models.rife.network"
_V4 = "betwixt.models.rife.v4"

_rife = partial(ModelInfo, paper=_PAPER, weights="yours", network=f"{_NETWORK}:RIFE", changes={"teacher": False})
_rife_v4 = partial(ModelInfo, paper=_PAPER, weights="yours", network=f"{_V4}:RIFEv4")

MODELS = (
    _rife("rife", "intermediate flow and refinement; t = 1/2", 10_071_550, f"{_NETWORK}:RIFE_ECCV"),
    _rife("rife-m", "RIFE for any time", 10_073_710, f"{_NETWORK}:RIFE_M"),
    _rife("rife-2r", "RIFE at twice the feature resolution; t = 1/2", 10_071_550, f"{_NETWORK}:RIFE_2R"),
    _rife(
        "rife-large",
        "RIFE 2R with test-time augmentation (2T2R); t = 1/2",
        10_071_550,
        f"{_NETWORK}:RIFE_2R",
        network="betwixt.models.augmented:build_augmented",
        arguments={"network": f"{_NETWORK}:RIFE"},
        trained_part="network",
    ),
    _rife_v4(
        "rife-4.6",
        "RIFE 4, the version in wide use; any time",
        5_306_256,
        f"{_V4}:RIFE_4_6",
        weights="embedded",
        embedded="rife-4.6.safetensors",
    ),
    _rife_v4("rife-4.22-lite", "RIFE 4, lighter; any time", 4_866_052, f"{_V4}:RIFE_4_22_LITE"),
    _rife_v4("rife-4.25", "RIFE 4; any time", 5_664_776, f"{_V4}:RIFE_4_25"),
)
