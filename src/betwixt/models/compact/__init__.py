"""compact and compact-large: classical optical flow, refined by two small networks."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "none: Betwixt's own (docs/models/index.md)"
_NETWORK = "betwixt.models.compact.network:CompactNetwork"
_INTERPOLATOR = "betwixt.models.compact.interpolator:CompactInterpolator"

MODELS = (
    ModelInfo(
        name="compact",
        summary="the flow of dis, mended, weighed and softened by two small networks; any time",
        paper=_PAPER,
        parameters=500_173,
        weights="embedded",
        network=_NETWORK,
        config="betwixt.models.compact.config:CONFIGS[compact]",
        trained_part="compact",
        embedded="compact.safetensors",
        interpolator=_INTERPOLATOR,
    ),
    ModelInfo(
        name="compact-large",
        summary="compact with a deeper synthesis: better frames in about twice the time; any time",
        paper=_PAPER,
        parameters=2_809_341,
        weights="embedded",
        network=_NETWORK,
        config="betwixt.models.compact.config:CONFIGS[compact-large]",
        trained_part="compact",
        embedded="compact-large.safetensors",
        interpolator=_INTERPOLATOR,
    ),
)
