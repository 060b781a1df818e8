"""compact and compact-large: classical optical flow, refined by two small networks."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = tuple(
    ModelInfo(
        name,
        summary,
        parameters,
        f"betwixt.models.compact.config:CONFIGS[{name}]",
        paper="none: Betwixt's own (docs/models/index.md)",
        weights="embedded",
        network="betwixt.models.compact.network:CompactNetwork",
        trained_part="compact",
        embedded=f"{name.removesuffix('-psnr')}.safetensors",
        interpolator="betwixt.models.compact.interpolator:CompactInterpolator",
    )
    for name, summary, parameters in (
        ("compact", "the flow of dis, refined by two small networks; any time", 500_173),
        (
            "compact-psnr",
            "compact with uncertain detail blurred: a higher PSNR in benchmarks, softer frames; any time",
            500_173,
        ),
        (
            "compact-large",
            "compact with a deeper synthesis: better frames in about twice the time; any time",
            2_809_341,
        ),
    )
)
