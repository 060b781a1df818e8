"""dis: classical optical flow by dense inverse search, projected to the time of the new frame."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

MODELS = (
    ModelInfo(
        "dis",
        "classical flow, projected to the new frame's time, fused by visibility",
        paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
        interpolator="betwixt.models.dis.interpolator:DIS",
    ),
    ModelInfo(
        "dis-psnr",
        "dis with uncertain detail blurred: a higher PSNR in benchmarks, softer frames",
        paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
        interpolator="betwixt.models.dis.softened:SoftenedDIS",
    ),
)
