"""RIFE: real-time intermediate flow estimation (ECCV 2022), and RIFE 4 of Practical-RIFE."""

from typing import Any

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022"
_NETWORK = "betwixt.models.rife.network"
_V4 = "betwixt.models.rife.v4"

_RIFE: dict[str, Any] = {
    "paper": _PAPER,
    "weights": "yours",
    "network": f"{_NETWORK}:RIFE",
    "changes": {"teacher": False},
}
_RIFE_V4: dict[str, Any] = {"paper": _PAPER, "network": f"{_V4}:RIFEv4"}

MODELS = (
    ModelInfo(
        name="rife",
        summary="intermediate flow and refinement; t = 1/2",
        parameters=10_071_550,
        config=f"{_NETWORK}:RIFE_ECCV",
        **_RIFE,
    ),
    ModelInfo(
        name="rife-m",
        summary="RIFE for any time",
        parameters=10_073_710,
        config=f"{_NETWORK}:RIFE_M",
        **_RIFE,
    ),
    ModelInfo(
        name="rife-2r",
        summary="RIFE at twice the feature resolution; t = 1/2",
        parameters=10_071_550,
        config=f"{_NETWORK}:RIFE_2R",
        **_RIFE,
    ),
    ModelInfo(
        name="rife-large",
        summary="RIFE 2R with test-time augmentation (2T2R); t = 1/2",
        parameters=10_071_550,
        config=f"{_NETWORK}:RIFE_2R",
        arguments={"network": f"{_NETWORK}:RIFE"},
        trained_part="network",
        **{**_RIFE, "network": "betwixt.models.augmented:build_augmented"},
    ),
    ModelInfo(
        name="rife-4.6",
        summary="RIFE 4, the version in wide use; any time",
        parameters=5_306_256,
        weights="embedded",
        config=f"{_V4}:RIFE_4_6",
        embedded="rife-4.6.safetensors",
        **_RIFE_V4,
    ),
    ModelInfo(
        name="rife-4.22-lite",
        summary="RIFE 4, lighter; any time",
        parameters=4_866_052,
        weights="yours",
        config=f"{_V4}:RIFE_4_22_LITE",
        **_RIFE_V4,
    ),
    ModelInfo(
        name="rife-4.25",
        summary="RIFE 4; any time",
        parameters=5_664_776,
        weights="yours",
        config=f"{_V4}:RIFE_4_25",
        **_RIFE_V4,
    ),
)
