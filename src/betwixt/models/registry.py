"""The models by name, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from betwixt.errors import UsageError
from betwixt.machine import is_installed, require_torch, torch_version

if TYPE_CHECKING:
    from betwixt.models.network import Network

__all__ = [
    "DEFAULT_MODEL",
    "EFFECTS_MODEL",
    "MODELS",
    "ModelInfo",
    "choose_model",
    "load_network",
    "model_info",
]

DEFAULT_MODEL = "auto"
"""Stands for the best that can be had here: see `choose_model`."""

EFFECTS_MODEL = "compact"
"""What makes the frames of effects and of real-time video, unless another is asked for."""


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know of a model before loading it.

    Attributes:
        name: As in `runtime.load.load_model`.
        summary: What it is, in a few words.
        paper: The paper it implements.
        parameters: How many it has at inference; 0 for a model that learns nothing.
        weights: Whether good weights are at hand: "not needed", "embedded" (ours, or the authors' where their licence
            allows it), "yours" (none are shipped).
        licence: Of the method's implementation here.
        make: Makes it, where it is no network.
        network: Makes the network, where it is one; weights come separately.
        embedded: The file of weights that comes with Betwixt, in weights/embedded.
        shipped: The part of the network that the weights are of; "" for all of it.
        runner: What runs a network: "torch", or one of our own runtimes, "compact" or "hybrid".
        sequences: Whether it works on sequences of frames, not on pairs: it can be evaluated, not used for conversion.
        masks: Whether it takes masks with the frames.
    """

    name: str
    summary: str
    paper: str
    parameters: int
    weights: str
    licence: str
    make: Callable[[], Any] | None = None
    network: Callable[[], Network] | None = None
    embedded: str = ""
    shipped: str = ""
    runner: Literal["torch", "compact", "hybrid"] = "torch"
    sequences: bool = False
    masks: bool = False

    @property
    def runtimes(self) -> tuple[str, ...]:
        """What can run it: "torch", "openvino"; "native" where it is no network."""
        if self.network is None:
            return ("native",)
        return ("torch", "openvino") if self.own else ("torch",)

    @property
    def own(self) -> bool:
        """Whether it is a network of Betwixt's own, which runs by our means and with our weights."""
        return self.runner != "torch"


def _made(module: str, name: str) -> Callable[[], Any]:
    """A maker that imports when it is called: listing models needs neither OpenCV nor PyTorch."""
    return lambda: getattr(import_module(f"betwixt.models.{module}"), name)()


def _network(module: str, name: str, config: Callable[[Any], Any]) -> Callable[[], Network]:
    """Likewise for a network; `config` picks its configuration out of its module."""

    def make() -> Network:
        home = import_module(f"betwixt.models.{module}")
        network: Network = getattr(home, name)(config(home))
        return network

    return make


def _rife(config: str) -> Callable[[], Network]:
    return _network("rife.network", "RIFE", lambda home: replace(getattr(home, config), teacher=False))


def _rife_large() -> Network:
    from betwixt.models.augmented import TestTimeAugmented

    return TestTimeAugmented(_rife("RIFE_2R")())


_RIFE = "Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, ECCV 2022"
_IFRNET = "Kong et al., IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation, CVPR 2022"
_AMT = "Li et al., AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation, CVPR 2023"
_DAEK = "Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation"
_NCM = "Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022"
_APR = "Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation"
_EBME = "Jin et al., Enhanced Bi-directional Motion Estimation for Video Frame Interpolation, WACV 2023"
_EMA = "Zhang et al., Extracting Motion and Appearance via Inter-Frame Attention, CVPR 2023"
_HIERARCHICAL = "Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation"


def _v4(config: str) -> Callable[[], Network]:
    return _network("rife.v4", "RIFEv4", lambda home: getattr(home, config))


def _ifrnet(name: str) -> Callable[[], Network]:
    return _network("ifrnet.network", "IFRNet", lambda home: home.CONFIGS[name])


def _amt(name: str) -> Callable[[], Network]:
    return _network("amt.network", "AMT", lambda home: home.CONFIGS[name])


def _daek() -> Network:
    from betwixt.models.daek.network import DAEK, DAEKConfig

    return DAEK(DAEKConfig(teacher="none"))


def _ncm(config: str) -> Callable[[], Network]:
    return _network("ncm.network", "NCM", lambda home: replace(getattr(home, config), teacher=False))


def _ncm_large() -> Network:
    from betwixt.models.augmented import TestTimeAugmented

    return TestTimeAugmented(_ncm("NCM_LARGE")())


def _ncm_next() -> Network:
    from betwixt.models.ncm.network import NCM, NCM_BASE

    return NCM(replace(NCM_BASE, extrapolation=True, teacher=False))


def _ncm_large_next() -> Network:
    from betwixt.models.augmented import TestTimeAugmented
    from betwixt.models.ncm.network import NCM, NCM_LARGE

    return TestTimeAugmented(NCM(replace(NCM_LARGE, extrapolation=True, teacher=False)))


def _compact(name: str) -> Callable[[], Network]:
    configs = "betwixt.models.compact.config"
    return _network("compact.network", "CompactNetwork", lambda _: import_module(configs).CONFIGS[name])


def _hybrid() -> Network:
    from betwixt.models.hybrid.network import HybridNetwork

    return HybridNetwork()


def _apr(name: str) -> Callable[[], Network]:
    return _network("apr.network", "APR", lambda home: home.CONFIGS[name])


def _ebme() -> Network:
    from betwixt.models.ebme.network import EBMESplat

    return EBMESplat()


def _ema(config: str) -> Callable[[], Network]:
    return _network("ema_vfi.network", "EMAVFI", lambda home: getattr(home, config))


def _hierarchical(module: str, config: Callable[[Any], Any]) -> Callable[[], Network]:
    def make() -> Network:
        from betwixt.models.hierarchical.network import hierarchical

        return hierarchical(config(import_module(f"betwixt.models.{module}.network")))

    return make


_NETWORKS = (
    ("rife", "intermediate flow and refinement; t = 1/2", _RIFE, 10_071_550, _rife("RIFE_ECCV")),
    ("rife-m", "RIFE for any time", _RIFE, 10_073_710, _rife("RIFE_M")),
    ("rife-2r", "RIFE at twice the feature resolution; t = 1/2", _RIFE, 10_071_550, _rife("RIFE_2R")),
    ("rife-large", "RIFE 2R, upright and flipped (2T2R); t = 1/2", _RIFE, 10_071_550, _rife_large),
    ("rife-4.6", "RIFE as people run it; any time", _RIFE, 5_306_256, _v4("RIFE_4_6")),
    ("rife-4.22-lite", "RIFE as people run it, lighter; any time", _RIFE, 4_866_052, _v4("RIFE_4_22_LITE")),
    ("rife-4.25", "RIFE as people run it; any time", _RIFE, 5_664_776, _v4("RIFE_4_25")),
    ("ifrnet-s", "intermediate features and flow, small; any time", _IFRNET, 2_803_610, _ifrnet("ifrnet-s")),
    ("ifrnet", "intermediate features and flow; any time", _IFRNET, 4_959_692, _ifrnet("ifrnet")),
    ("ifrnet-l", "intermediate features and flow, large; any time", _IFRNET, 19_699_460, _ifrnet("ifrnet-l")),
    ("amt-s", "all-pairs correlation, several flows, small; any time", _AMT, 2_990_543, _amt("amt-s")),
    ("amt-l", "all-pairs correlation, several flows, large; any time", _AMT, 12_935_367, _amt("amt-l")),
    ("amt-g", "all-pairs correlation, several flows, global; any time", _AMT, 30_638_919, _amt("amt-g")),
    ("ema-vfi-small", "inter-frame attention, small; any time", _EMA, 14_489_815, _ema("EMA_VFI_SMALL")),
    ("ema-vfi", "inter-frame attention; any time", _EMA, 65_662_359, _ema("EMA_VFI")),
    ("daek", "dual motion attention; t = 1/2", _DAEK, 22_430_701, _daek),
    ("ncm-base", "neighbor correspondence matching; t = 1/2", _NCM, 12_123_586, _ncm("NCM_BASE")),
    ("ncm-large", "NCM at twice the feature resolution, 2T; t = 1/2", _NCM, 12_123_586, _ncm_large),
    ("ncm-base-next", "NCM for extrapolation: the frame after the second", _NCM, 12_123_586, _ncm_next),
    ("ncm-large-next", "NCM large for extrapolation: the frame after the second", _NCM, 12_123_586, _ncm_large_next),
    (
        "apr-static",
        "forward warping and synthesis by patches, all of it; any time",
        _APR,
        2_206_600,
        _apr("apr-static"),
    ),
    ("apr", "the same, with patches routed by how well they align; any time", _APR, 2_211_726, _apr("apr")),
    ("ebme", "bi-directional flow, splatted, without synthesis; any time", _EBME, 632_900, _ebme),
)

_GIVEN = ("rife-4.6",)
"""Networks whose authors' weights come with Betwixt: their licence allows it."""

# Hosts with the plug-in: the host, the parameters of both, the host's module, and its configuration there.
_HIERARCHICAL_NETWORKS = (
    ("rife", 14_081_645, "rife", lambda home: replace(home.RIFE_ECCV, teacher=False)),
    ("rife-m", 14_083_805, "rife", lambda home: replace(home.RIFE_M, teacher=False)),
    ("rife-2r", 14_081_645, "rife", lambda home: replace(home.RIFE_2R, teacher=False)),
    ("ifrnet-s", 5_140_232, "ifrnet", lambda home: home.CONFIGS["ifrnet-s"]),
    ("ifrnet", 9_103_058, "ifrnet", lambda home: home.CONFIGS["ifrnet"]),
    ("ifrnet-l", 36_209_162, "ifrnet", lambda home: home.CONFIGS["ifrnet-l"]),
    ("amt-s", 4_408_189, "amt", lambda home: home.CONFIGS["amt-s"]),
    ("amt-l", 20_287_181, "amt", lambda home: home.CONFIGS["amt-l"]),
    ("amt-g", 37_990_733, "amt", lambda home: home.CONFIGS["amt-g"]),
    ("ema-vfi-small", 36_518_494, "ema_vfi", lambda home: home.EMA_VFI_SMALL),
    ("ema-vfi", 153_635_230, "ema_vfi", lambda home: home.EMA_VFI),
)

_OWN = (
    ("compact", "the flow of dis, mended, weighed and softened by two small networks; any time", 500_173),
    (
        "compact-large",
        "compact with a deeper synthesis: better frames in about twice the time; any time",
        2_809_341,
    ),
)

_HYBRID = "the motions of dis and of RIFE 4.6, fused by two small networks: the best frames; any time"

_PEERS = (
    ("average", "the mean of both frames, weighted by time", "Average", "MIT"),
    ("nearest", "the nearer frame", "Nearest", "MIT"),
    ("dis-midpoint", "both frames warped along half of the plain flow", "DISMidpoint", "MIT"),
    ("minterpolate", "FFmpeg's filter; to be evaluated on sequences only", "Minterpolate", "LGPL-2.1"),
)

MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(
            name="dis",
            summary="classical flow, projected to the new frame's time, fused by visibility",
            paper="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
            parameters=0,
            weights="not needed",
            licence="MIT",
            make=_made("dis.interpolator", "DIS"),
        ),
        *(
            ModelInfo(
                name,
                summary,
                "none: Betwixt's own (docs/models/index.md)",
                parameters,
                "embedded",
                "MIT",
                network=_compact(name),
                embedded=f"{name}.safetensors",
                shipped="compact",
                runner="compact",
            )
            for name, summary, parameters in _OWN
        ),
        ModelInfo(
            "hybrid",
            _HYBRID,
            "none: Betwixt's own (docs/models/index.md), on RIFE 4.6",
            5_839_003,
            "embedded",
            "MIT",
            network=_hybrid,
            embedded="hybrid.safetensors",
            shipped="fusion",
            runner="hybrid",
        ),
        *(
            ModelInfo(
                name,
                summary,
                paper,
                parameters,
                "embedded" if name in _GIVEN else "yours",
                "MIT",
                network=network,
                embedded=f"{name}.safetensors" if name in _GIVEN else "",
            )
            for name, summary, paper, parameters, network in _NETWORKS
        ),
        *(
            ModelInfo(
                f"{host}+hm",
                f"{host}, which starts from hierarchical motion found with masks; "
                + ("t = 1/2" if host in ("rife", "rife-2r") else "any time"),
                _HIERARCHICAL,
                parameters,
                "yours",
                "MIT",
                network=_hierarchical(module, config),
                masks=True,
            )
            for host, parameters, module, config in _HIERARCHICAL_NETWORKS
        ),
        *(
            ModelInfo(
                name,
                summary,
                "none: for comparison",
                0,
                "not needed",
                licence,
                make=_made("baselines.interpolator", kind),
                sequences=name == "minterpolate",
            )
            for name, summary, kind, licence in _PEERS
        ),
    )
}


def choose_model(name: str = DEFAULT_MODEL, weights: object = None) -> str:
    """The model that a name stands for: "auto" is `hybrid`, or `dis` where what networks need is not installed.

    Args:
        name: A model's name, or "auto".
        weights: What was given to load into it, if anything.

    Raises:
        UsageError: if weights were given, but nobody said of what.
    """
    if name != DEFAULT_MODEL:
        return name
    if weights is not None:
        raise UsageError("Say which model the weights are of: --model NAME (see betwixt models).")
    return "hybrid" if torch_version() and is_installed("safetensors") else "dis"


def model_info(name: str) -> ModelInfo:
    """What is known of a model, or of the one that "auto" stands for.

    Raises:
        UsageError: if there is no such model.
    """
    name = choose_model(name)
    if name not in MODELS:
        raise UsageError(f"There is no model '{name}': choose one of {', '.join(sorted(MODELS))}.")
    return MODELS[name]


def load_network(name: str) -> Network:
    """The network of a model without trained weights, for training, counting and timing.

    Raises:
        UsageError: if the model is no network, or PyTorch is not there.
    """
    info = model_info(name)
    if info.network is None:
        raise UsageError(f"The model {name} is no network: it learns nothing.")
    require_torch(f"The model {name}")
    return info.network()
