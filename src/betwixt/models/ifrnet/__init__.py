"""IFRNet: intermediate features and flow (CVPR 2022)."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_PAPER = "Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022"
_NETWORK = "betwixt.models.ifrnet.network"

MODELS = (
    ModelInfo(
        name="ifrnet-s",
        summary="intermediate features and flow, small; any time",
        paper=_PAPER,
        parameters=2_803_610,
        weights="yours",
        network=f"{_NETWORK}:IFRNet",
        config=f"{_NETWORK}:CONFIGS[ifrnet-s]",
    ),
    ModelInfo(
        name="ifrnet",
        summary="intermediate features and flow; any time",
        paper=_PAPER,
        parameters=4_959_692,
        weights="yours",
        network=f"{_NETWORK}:IFRNet",
        config=f"{_NETWORK}:CONFIGS[ifrnet]",
    ),
    ModelInfo(
        name="ifrnet-l",
        summary="intermediate features and flow, large; any time",
        paper=_PAPER,
        parameters=19_699_460,
        weights="yours",
        network=f"{_NETWORK}:IFRNet",
        config=f"{_NETWORK}:CONFIGS[ifrnet-l]",
    ),
)
