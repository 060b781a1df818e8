"""hybrid: the motion of classical optical flow and of RIFE 4.6, fused by two small networks."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = tuple(
    ModelInfo(
        name,
        summary,
        5_839_003,
        f"betwixt.models.hybrid.config:CONFIGS[{name}]",
        paper="none: Betwixt's own (docs/models/index.md), on RIFE 4.6",
        weights="embedded",
        network="betwixt.models.hybrid.network:HybridNetwork",
        trained_part="fusion",
        embedded="hybrid.safetensors",
        interpolator="betwixt.models.hybrid.interpolator:HybridInterpolator",
        components=("rife-4.6",),
    )
    for name, summary in (
        ("hybrid", "the motions of dis and of RIFE 4.6, fused by two small networks: the default; any time"),
        ("hybrid-psnr", "hybrid with uncertain detail blurred: a higher PSNR in benchmarks, softer frames; any time"),
        ("hybrid-large", "hybrid with RIFE at three sizes: better on fast motion, in 2.6 times the time; any time"),
    )
)
