"""hybrid: the motion of classical optical flow and of RIFE 4.6, fused by two small networks."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = (
    ModelInfo(
        "hybrid",
        "the motions of dis and of RIFE 4.6, fused by two small networks: the best frames; any time",
        5_839_003,
        "betwixt.models.hybrid.config:HYBRID",
        paper="none: Betwixt's own (docs/models/index.md), on RIFE 4.6",
        weights="embedded",
        network="betwixt.models.hybrid.network:HybridNetwork",
        trained_part="fusion",
        embedded="hybrid.safetensors",
        interpolator="betwixt.models.hybrid.interpolator:HybridInterpolator",
        components=("rife-4.6",),
    ),
)
