"""RIFE: real-time intermediate flow estimation (ECCV 2022), and RIFE 4 of Practical-RIFE."""

from functools import partial
from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS", "SAME_LAYERS", "V4_MODELS"]

_PAPER = "Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022"
_NETWORK = "betwixt.models.rife.network"
_V4 = "betwixt.models.rife.v4"

_rife = partial(ModelInfo, paper=_PAPER, weights="yours", network=f"{_NETWORK}:RIFE", changes={"teacher": False})
_AUGMENTED: dict[str, Any] = {
    "network": "betwixt.models.augmented:build_augmented",
    "arguments": {"network": f"{_NETWORK}:RIFE"},
    "trained_part": "network",
}


def _rife_v4(name: str, versions: str, parameters: int, config: str, embedded: str = "") -> ModelInfo:
    """A network of RIFE 4; `versions` names those that have its layers."""
    return ModelInfo(
        name,
        f"RIFE {versions}; any time",
        parameters,
        f"{_V4}:{config}",
        paper=_PAPER,
        weights="embedded" if embedded else "yours",
        network=f"{_V4}:RIFEv4",
        embedded=embedded,
    )


MODELS = (
    _rife("rife", "intermediate flow and refinement; t = 1/2", 10_071_550, f"{_NETWORK}:RIFE_ECCV"),
    _rife("rife-m", "RIFE for any time", 10_073_710, f"{_NETWORK}:RIFE_M"),
    _rife("rife-2r", "RIFE at twice the feature resolution; t = 1/2", 10_071_550, f"{_NETWORK}:RIFE_2R"),
    _rife(
        "rife-2t",
        "RIFE with test-time augmentation; t = 1/2",
        10_071_550,
        f"{_NETWORK}:RIFE_ECCV",
        **_AUGMENTED,
    ),
    _rife(
        "rife-large",
        "RIFE 2R with test-time augmentation (2T2R); t = 1/2",
        10_071_550,
        f"{_NETWORK}:RIFE_2R",
        **_AUGMENTED,
    ),
    _rife(
        "rife-next",
        "RIFE for extrapolation: the frame after the second",
        10_071_550,
        f"{_NETWORK}:RIFE_NEXT",
        extrapolates=True,
    ),
    _rife(
        "rife-2r-next",
        "RIFE 2R for extrapolation: the frame after the second",
        10_071_550,
        f"{_NETWORK}:RIFE_2R_NEXT",
        extrapolates=True,
    ),
    _rife(
        "rife-large-next",
        "RIFE 2T2R for extrapolation: the frame after the second",
        10_071_550,
        f"{_NETWORK}:RIFE_2R_NEXT",
        extrapolates=True,
        **_AUGMENTED,
    ),
    _rife_v4("rife-4.0", "4.0, 4.1", 5_160_980, "RIFE_4_0"),
    _rife_v4("rife-4.2", "4.2 to 4.4", 5_156_420, "RIFE_4_2"),
    _rife_v4("rife-4.5", "4.5", 5_275_520, "RIFE_4_5"),
    _rife_v4("rife-4.6", "4.6, the version in wide use", 5_306_256, "RIFE_4_6", "rife-4.6.safetensors"),
    _rife_v4("rife-4.7", "4.7 to 4.9", 5_325_012, "RIFE_4_7"),
    _rife_v4("rife-4.10", "4.10 to 4.15, 4.17 to 4.19, 4.24", 5_364_312, "RIFE_4_10"),
    _rife_v4("rife-4.12-lite", "4.12 and 4.13 lite", 2_631_804, "RIFE_4_12_LITE"),
    _rife_v4("rife-4.14-lite", "4.14 lite", 2_968_152, "RIFE_4_14_LITE"),
    _rife_v4("rife-4.15-lite", "4.15 to 4.17 lite", 2_616_476, "RIFE_4_15_LITE"),
    _rife_v4("rife-4.20", "4.20", 15_376_512, "RIFE_4_20"),
    _rife_v4("rife-4.21", "4.21 to 4.23", 9_322_416, "RIFE_4_21"),
    _rife_v4("rife-4.22-lite", "4.22 lite", 4_866_052, "RIFE_4_22_LITE"),
    _rife_v4("rife-4.25", "4.25", 5_664_776, "RIFE_4_25"),
    _rife_v4("rife-4.25-lite", "4.25 lite", 5_622_700, "RIFE_4_25_LITE"),
    _rife_v4("rife-4.25-heavy", "4.25 heavy", 21_663_528, "RIFE_4_25_HEAVY"),
    _rife_v4("rife-4.26", "4.26, with the layers of 4.25", 5_664_776, "RIFE_4_25"),
    _rife_v4("rife-4.26-heavy", "4.26 heavy", 5_723_156, "RIFE_4_26_HEAVY"),
)

V4_MODELS = tuple(info.name for info in MODELS if info.network == f"{_V4}:RIFEv4")
"""The models of RIFE 4: one for each architecture, except that 4.25 and 4.26 share one."""

SAME_LAYERS = {
    f"rife-{version}": model
    for model, versions in {
        "rife-4.0": ("4.1",),
        "rife-4.2": ("4.3", "4.4"),
        "rife-4.7": ("4.8", "4.9"),
        "rife-4.10": ("4.11", "4.12", "4.13", "4.14", "4.15", "4.17", "4.18", "4.19", "4.24"),
        "rife-4.12-lite": ("4.13-lite",),
        "rife-4.15-lite": ("4.16-lite", "4.17-lite"),
        "rife-4.21": ("4.22", "4.23"),
    }.items()
    for version in versions
}
"""By the name that a version of RIFE 4 would have as a model: the model that has its layers and runs it."""
