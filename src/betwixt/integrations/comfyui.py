"""Nodes for ComfyUI: more frames for a batch of images.

    images (N, H, W, 3) ──► one by one, floats in [0, 1] ──► betwixt.frames ──► one result, allocated before

Images are float32 in [0, 1], N frames of a video. Besides them and the result, only the frames in progress are in
memory, whose number does not grow with N. Frames of the result that fall on a source frame are copies of it, bit by
bit; the others are made from 16 bits per sample. The result lasts as long as the source: its end repeats the last one.

ComfyUI loads the nodes from a folder in `custom_nodes` whose `__init__.py` imports the two mappings at the end;
`examples/comfyui/betwixt` is one.
"""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import betwixt
from betwixt.errors import UsageError
from betwixt.media.timeline import parse_rate
from betwixt.models.base import Interpolator
from betwixt.models.registry import DEFAULT_MODEL, choose_model
from betwixt.runtime.load import usable_models

Images = torch.Tensor
"""(N, H, W, 3) float32 in [0, 1]."""

_DEVICES = ("auto", "cpu", "cuda", "mps", "gpu", "npu")


class _Node:
    """What the two nodes have in common. The names in capitals are those that ComfyUI asks for."""

    FUNCTION = "interpolate"
    CATEGORY = "Betwixt"

    @classmethod
    def _inputs(cls, rates: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The inputs of a node: those of `rates`, which set its rate, and those of both nodes."""
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames of a video, in order."}),
                **rates,
                "model": (model_names(), {"default": DEFAULT_MODEL, "tooltip": "auto is hybrid; fast is the fastest."}),
                "scene_cuts": ("BOOLEAN", {"default": True, "tooltip": "Blend nothing across a cut."}),
            },
            "optional": {
                "cut_threshold": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "A cut is where the mean difference of two frames is larger. 0: found by Betwixt.",
                    },
                ),
                "device": (_DEVICES, {"default": "auto"}),
            },
        }


class BetwixtMultiply(_Node):
    """Multiplies the number of frames."""

    DESCRIPTION = "Multiplies the number of frames by any factor, such as 2.5. The duration stays the same."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """The inputs, as ComfyUI asks for them."""
        range_ = {"default": 2.0, "min": 1.0, "max": 100.0, "step": 0.1, "round": 0.0001}
        return cls._inputs({"multiplier": ("FLOAT", {**range_, "tooltip": "Frames made of each source frame."})})

    def interpolate(
        self,
        images: Images,
        multiplier: float,
        model: str = DEFAULT_MODEL,
        scene_cuts: bool = True,
        cut_threshold: float = 0.0,
        device: str = "auto",
    ) -> tuple[Images]:
        """The frames at `multiplier` times their rate.

        Raises:
            UsageError: for a wrong input, in one line.
        """
        factor = parse_rate(multiplier, "multiplier")
        return (interpolate_images(images, factor, model, scene_cuts, cut_threshold, device),)


class BetwixtChangeRate(_Node):
    """Converts from one frame rate to another."""

    DESCRIPTION = "Converts frames from one rate to another, such as 24 to 60. The duration stays the same."
    RETURN_TYPES = ("IMAGE", "FLOAT")
    RETURN_NAMES = ("images", "fps")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """The inputs, as ComfyUI asks for them."""
        range_ = {"min": 1.0, "max": 1000.0, "step": 1.0, "round": 0.0001}
        return cls._inputs(
            {
                "source_fps": ("FLOAT", {**range_, "default": 24.0, "tooltip": "Frames per second of the images."}),
                "target_fps": ("FLOAT", {**range_, "default": 60.0, "tooltip": "Frames per second of the result."}),
            }
        )

    def interpolate(
        self,
        images: Images,
        source_fps: float,
        target_fps: float,
        model: str = DEFAULT_MODEL,
        scene_cuts: bool = True,
        cut_threshold: float = 0.0,
        device: str = "auto",
    ) -> tuple[Images, float]:
        """The frames at `target_fps`, and that rate.

        Raises:
            UsageError: for a wrong input, in one line.
        """
        factor = parse_rate(target_fps) / parse_rate(source_fps)
        return interpolate_images(images, factor, model, scene_cuts, cut_threshold, device), float(target_fps)


def interpolate_images(
    images: Images,
    factor: Fraction,
    model: str | Interpolator = DEFAULT_MODEL,
    scene_cuts: bool = True,
    cut_threshold: float = 0.0,
    device: str = "auto",
) -> Images:
    """`factor` frames for each of a batch of images.

    Args:
        images: The N source frames.
        factor: Frames of the result for each source frame.
        model: A model's name, or a loaded model.
        scene_cuts: Whether nothing is blended across a scene cut.
        cut_threshold: The mean absolute difference of two frames, 0 to 1, above which there is a cut between them; 0
            for Betwixt's own detection.
        device: Where the model runs, as for `betwixt.load_model`.

    Returns:
        N times `factor` frames, rounded up.

    Raises:
        UsageError: for a wrong input, in one line.
    """
    if images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(
            f"The images are {'x'.join(map(str, images.shape))}: they have to be a batch of RGB images, (N, H, W, 3). "
            "Split alpha off before."
        )
    if not len(images):
        raise UsageError("There are no images.")
    loaded = _load(model, device) if isinstance(model, str) else model
    with _cuts(images, scene_cuts, cut_threshold) as cuts:
        # At one frame per second, times are numbers of source frames.
        made = betwixt.frames(
            _Frames(images), input_fps=1, factor=factor, model=loaded, scene_cuts=cuts, dtype="float32"
        )
        total = made.total
        assert total is not None  # the number of images is known
        result = torch.empty((total, *images.shape[1:]), dtype=torch.float32)
        progress = _progress(total)
        with made:
            for frame in made:
                if frame.synthesized:
                    result[frame.index] = torch.from_numpy(frame.image)
                else:
                    # A frame that is held, next to a cut or after the last one, is the nearest.
                    nearest = math.floor(frame.source_time + Fraction(1, 2))
                    result[frame.index] = images[min(nearest, len(images) - 1)]
                progress(frame.index + 1)
    return result


class _Frames(Sequence[NDArray[np.float32]]):
    """Images as `betwixt.frames` reads them: one array (H, W, 3) at a time, in [0, 1] where a filter went beyond."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: Any) -> Any:
        return self._images[number].detach().to("cpu", torch.float32).clamp(0, 1).numpy()


def _cuts(images: Images, wanted: bool, threshold: float) -> AbstractContextManager[str | Path]:
    """The `scene_cuts` of `betwixt.frames`; with a threshold, a file that lists the cuts."""
    if not wanted or not threshold:
        return contextlib.nullcontext("auto" if wanted else "off")
    return _listed_cuts([n for n in range(1, len(images)) if _difference(images, n) > threshold])


@contextlib.contextmanager
def _listed_cuts(numbers: Sequence[int]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cuts.txt"
        path.write_text("".join(f"{number}\n" for number in numbers))
        yield path


def _difference(images: Images, number: int) -> float:
    """The mean absolute difference of an image and the one before, 0 to 1."""
    return float((images[number].float() - images[number - 1].float()).abs().mean())


def model_names() -> list[str]:
    """The models that can be used now, the default first."""
    return [DEFAULT_MODEL, *(info.name for info in usable_models())]


@functools.lru_cache(maxsize=1)
def _load(model: str, device: str) -> Interpolator:
    """The model that was used last stays loaded."""
    return betwixt.load_model(choose_model(model), device)


def _progress(total: int) -> Callable[[int], None]:
    """A function of the number of frames made: it moves ComfyUI's progress bar, and raises after a cancel."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda done: None
    bar = ProgressBar(total)

    def report(done: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done)

    return report


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "BetwixtMultiply": BetwixtMultiply,
    "BetwixtChangeRate": BetwixtChangeRate,
}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {
    "BetwixtMultiply": "Interpolate Frames (Betwixt)",
    "BetwixtChangeRate": "Change Frame Rate (Betwixt)",
}
