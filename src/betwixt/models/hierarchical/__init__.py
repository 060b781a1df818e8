"""Hierarchical motion estimation: a plug-in for RIFE, IFRNet, AMT and EMA-VFI."""

from betwixt.models.model_info import ModelInfo

__all__ = ["MODELS"]

_HOSTS = (
    ("rife", 14_081_645, "betwixt.models.rife.network:RIFE_ECCV", "t = 1/2"),
    ("rife-m", 14_083_805, "betwixt.models.rife.network:RIFE_M", "any time"),
    ("rife-2r", 14_081_645, "betwixt.models.rife.network:RIFE_2R", "t = 1/2"),
    ("ifrnet-s", 5_140_232, "betwixt.models.ifrnet.network:CONFIGS[ifrnet-s]", "any time"),
    ("ifrnet", 9_103_058, "betwixt.models.ifrnet.network:CONFIGS[ifrnet]", "any time"),
    ("ifrnet-l", 36_209_162, "betwixt.models.ifrnet.network:CONFIGS[ifrnet-l]", "any time"),
    ("amt-s", 4_408_189, "betwixt.models.amt.network:CONFIGS[amt-s]", "any time"),
    ("amt-l", 20_287_181, "betwixt.models.amt.network:CONFIGS[amt-l]", "any time"),
    ("amt-g", 37_990_733, "betwixt.models.amt.network:CONFIGS[amt-g]", "any time"),
    ("ema-vfi-small", 36_518_494, "betwixt.models.ema_vfi.network:EMA_VFI_SMALL", "any time"),
    ("ema-vfi", 153_635_230, "betwixt.models.ema_vfi.network:EMA_VFI", "any time"),
)
"""The models that the plug-in extends: name, parameters with the plug-in, configuration, times."""

MODELS = tuple(
    ModelInfo(
        f"{host}+hm",
        f"{host} with hierarchical motion from masks; {times}",
        parameters,
        "betwixt.models.hierarchical.network:ABLATIONS[full]",
        paper="Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation",
        weights="yours",
        network="betwixt.models.hierarchical.network:build_hierarchical",
        arguments={"host": config},
        takes_masks=True,
    )
    for host, parameters, config, times in _HOSTS
)
