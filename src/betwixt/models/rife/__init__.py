"""RIFE: real-time intermediate flow estimation (ECCV 2022), and version 4 of Practical-RIFE."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022"
_NETWORK = "betwixt.models.rife.network"
_V4 = "betwixt.models.rife.v4"

MODELS = (
    ModelInfo(
        name="rife",
        summary="intermediate flow and refinement; t = 1/2",
        paper=_PAPER,
        parameters=10_071_550,
        weights="yours",
        network=f"{_NETWORK}:RIFE",
        config=f"{_NETWORK}:RIFE_ECCV",
        changes={"teacher": False},
    ),
    ModelInfo(
        name="rife-m",
        summary="RIFE for any time",
        paper=_PAPER,
        parameters=10_073_710,
        weights="yours",
        network=f"{_NETWORK}:RIFE",
        config=f"{_NETWORK}:RIFE_M",
        changes={"teacher": False},
    ),
    ModelInfo(
        name="rife-2r",
        summary="RIFE at twice the feature resolution; t = 1/2",
        paper=_PAPER,
        parameters=10_071_550,
        weights="yours",
        network=f"{_NETWORK}:RIFE",
        config=f"{_NETWORK}:RIFE_2R",
        changes={"teacher": False},
    ),
    ModelInfo(
        name="rife-large",
        summary="RIFE 2R, upright and flipped (2T2R); t = 1/2",
        paper=_PAPER,
        parameters=10_071_550,
        weights="yours",
        network="betwixt.models.augmented:build_augmented",
        config=f"{_NETWORK}:RIFE_2R",
        changes={"teacher": False},
        arguments={"network": f"{_NETWORK}:RIFE"},
        trained_part="network",
    ),
    ModelInfo(
        name="rife-4.6",
        summary="RIFE as people run it; any time",
        paper=_PAPER,
        parameters=5_306_256,
        weights="embedded",
        network=f"{_V4}:RIFEv4",
        config=f"{_V4}:RIFE_4_6",
        embedded="rife-4.6.safetensors",
    ),
    ModelInfo(
        name="rife-4.22-lite",
        summary="RIFE as people run it, lighter; any time",
        paper=_PAPER,
        parameters=4_866_052,
        weights="yours",
        network=f"{_V4}:RIFEv4",
        config=f"{_V4}:RIFE_4_22_LITE",
    ),
    ModelInfo(
        name="rife-4.25",
        summary="RIFE as people run it; any time",
        paper=_PAPER,
        parameters=5_664_776,
        weights="yours",
        network=f"{_V4}:RIFEv4",
        config=f"{_V4}:RIFE_4_25",
    ),
)
