"""NCM: neighbor correspondence matching, for interpolation and extrapolation (ACM MM 2022)."""

from functools import partial
from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_MODULE = "betwixt.models.ncm.network"
_BASE = f"{_MODULE}:NCM_BASE"
_LARGE = f"{_MODULE}:NCM_LARGE"
_ncm = partial(
    ModelInfo,
    parameters=12_123_586,
    paper="Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022",
    weights="yours",
    network=f"{_MODULE}:NCM",
    changes={"teacher": False},
)
_AUGMENTED: dict[str, Any] = {
    "network": "betwixt.models.augmented:build_augmented",
    "arguments": {"network": f"{_MODULE}:NCM"},
    "trained_part": "network",
}
_NEXT = {"extrapolation": True, "teacher": False}

MODELS = (
    _ncm("ncm-base", "neighbor correspondence matching; t = 1/2", config=_BASE),
    _ncm(
        "ncm-large",
        "NCM at twice the feature resolution, with test-time augmentation; t = 1/2",
        config=_LARGE,
        **_AUGMENTED,
    ),
    _ncm(
        "ncm-base-next",
        "NCM for extrapolation: the frame after the second",
        config=_BASE,
        changes=_NEXT,
        extrapolates=True,
    ),
    _ncm(
        "ncm-large-next",
        "NCM large for extrapolation: the frame after the second",
        config=_LARGE,
        changes=_NEXT,
        extrapolates=True,
        **_AUGMENTED,
    ),
)
