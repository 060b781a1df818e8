"""DAEK: dual motion attention and enhanced knowledge distillation."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = (
    ModelInfo(
        "daek",
        "dual motion attention on top of RIFE; t = 1/2",
        22_430_701,
        "betwixt.models.daek.network:ABLATIONS[daek-f-da]",
        paper="Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation",
        weights="yours",
        network="betwixt.models.daek.network:DAEK",
        changes={"teacher": "none"},
    ),
)
