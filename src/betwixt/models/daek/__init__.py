"""DAEK: dual motion attention and enhanced knowledge distillation."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation"
_NETWORK = "betwixt.models.daek.network"

MODELS = (
    ModelInfo(
        name="daek",
        summary="dual motion attention; t = 1/2",
        paper=_PAPER,
        parameters=22_430_701,
        weights="yours",
        network=f"{_NETWORK}:DAEK",
        config=f"{_NETWORK}:ABLATIONS[daek-f-da]",
        changes={"teacher": "none"},
    ),
)
