"""DAEK: dual motion attention and enhanced knowledge distillation."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = (
    ModelInfo(
        name="daek",
        summary="dual motion attention on top of RIFE; t = 1/2",
        paper="Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation",
        parameters=22_430_701,
        weights="yours",
        network="betwixt.models.daek.network:DAEK",
        config="betwixt.models.daek.network:ABLATIONS[daek-f-da]",
        changes={"teacher": "none"},
    ),
)
