"""Images as callers give them: NumPy arrays, PyTorch tensors and PIL images.

    given image, or batch ── read_images ──► (N, H, W, 3) array ── model ──► new images ── restore ──► as given

PyTorch and Pillow are not imported here: where they are not loaded, nobody has one of their images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError


@dataclass(frozen=True)
class GivenImages:
    """An image that a caller gave, or a batch of them.

    Attributes:
        array: (N, H, W, 3), RGB, uint8, uint16, or float32 in [0, 1].
        kind: What they are, to compare two of them: "uint8 array", "float32 tensor", "PIL image".
        restore: Turns N images, (H, W, 3) RGB float32 in [0, 1], into the type and shape that was given.
        copy: Copies what was given.
    """

    array: NDArray[Any]
    kind: str
    restore: Callable[[Sequence[NDArray[np.float32]]], Any]
    copy: Callable[[], Any]

    def as_floats(self) -> list[NDArray[np.float32]]:
        """The images, each (H, W, 3) float32 in [0, 1]."""
        if self.array.dtype == np.float32:
            return list(self.array)
        return list(self.array.astype(np.float32) / np.float32(np.iinfo(self.array.dtype).max))


def read_images(given: Any, name: str) -> GivenImages:
    """Read an image, or a batch of N images, that a caller gave.

    Args:
        given: A numpy array (H, W, 3) or (N, H, W, 3), or a PyTorch tensor (3, H, W) or (N, 3, H, W): RGB, uint8 (0 to
            255), uint16 (0 to 65535) or float in [0, 1]. Or a PIL image of mode RGB.
        name: What messages call it, such as "The first frame".

    Raises:
        UsageError: if it is something else, not RGB, not finite, or beyond [0, 1].
    """
    torch, pillow = sys.modules.get("torch"), sys.modules.get("PIL.Image")
    if isinstance(given, np.ndarray):
        return _read_array(given, name)
    if torch is not None and isinstance(given, torch.Tensor):
        return _read_tensor(given, name)
    if pillow is not None and isinstance(given, pillow.Image):
        return _read_pil_image(given, name, pillow)
    raise UsageError(f"{name} is a {type(given).__name__}: use a numpy array, a torch tensor or a PIL image.")


def read_image_pair(
    first: Any, second: Any, names: tuple[str, str] = ("The first frame", "The second frame")
) -> tuple[GivenImages, GivenImages]:
    """Read two images, or two batches, of one type and shape.

    Args:
        first: The first one, as for `read_images`.
        second: The second one.
        names: What messages call the two.

    Raises:
        UsageError: as `read_images`, or if the two differ.
    """
    images = read_images(first, names[0]), read_images(second, names[1])
    if images[0].kind != images[1].kind:
        raise UsageError(
            f"The two frames differ in type, {images[0].kind} and {images[1].kind}: give both as the same."
        )
    check_same_size(images[0].array[0], images[1].array[0])
    counts = [len(batch.array) for batch in images]
    if counts[0] != counts[1]:
        raise UsageError(f"{counts[0]} first frames and {counts[1]} second ones: give as many of each.")
    return images


def check_same_size(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse two frames, each (H, W) or (H, W, channels), of different sizes.

    Raises:
        UsageError: naming both sizes.
    """
    if first.shape[:2] != second.shape[:2]:
        sizes = [f"{frame.shape[1]}x{frame.shape[0]}" for frame in (first, second)]
        raise UsageError(f"The two frames differ in size, {sizes[0]} and {sizes[1]}: scale one to fit the other.")


def _read_array(given: NDArray[Any], name: str) -> GivenImages:
    if given.ndim not in (3, 4) or given.shape[-1] != 3 or not given.size:
        channels = given.shape[-1:] if given.ndim >= 3 else (1,) * (given.ndim == 2)
        raise UsageError(
            f"{name} has shape {given.shape}: expected (height, width, 3), RGB{_channel_advice(channels)}."
        )
    dtype, shape = given.dtype, given.shape
    if dtype not in (np.uint8, np.uint16) and not np.issubdtype(dtype, np.floating):
        raise UsageError(f"{name} is of type {dtype}: use uint8, uint16 or float in [0, 1].")
    array = _checked(given.reshape(-1, *shape[-3:]), name)
    return GivenImages(array, f"{dtype} array", lambda x: _as_type(x, dtype).reshape(shape), given.copy)


def _read_tensor(given: Any, name: str) -> GivenImages:
    shape = tuple(given.shape)
    if len(shape) not in (3, 4) or shape[-3] != 3 or not given.numel():
        raise UsageError(
            f"{name} has shape {shape}: expected (3, height, width), or a batch of such{_channel_advice(shape[-3:-2])}."
        )
    type_name = str(given.dtype).removeprefix("torch.")
    if type_name not in ("uint8", "uint16") and not given.is_floating_point():
        raise UsageError(f"{name} is of type {given.dtype}: use uint8, uint16 or float in [0, 1].")
    values = given.detach().float() if given.is_floating_point() else given.detach()
    channels_first = values.cpu().numpy().reshape(-1, *shape[-3:])
    array = _checked(np.ascontiguousarray(channels_first.transpose(0, 2, 3, 1)), name)

    def restore(images: Sequence[NDArray[np.float32]]) -> Any:
        result = _as_type(images, array.dtype).transpose(0, 3, 1, 2)
        return given.new_tensor(np.ascontiguousarray(result)).reshape(shape)

    return GivenImages(array, f"{type_name} tensor", restore, given.clone)


def _read_pil_image(given: Any, name: str, pillow: Any) -> GivenImages:
    if given.mode != "RGB":
        raise UsageError(f'{name} is a PIL image of mode {given.mode}: convert it by .convert("RGB").')
    array = np.asarray(given)[None]
    return GivenImages(array, "PIL image", lambda x: pillow.fromarray(_as_type(x, array.dtype)[0]), given.copy)


def _checked(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Samples as uint8, uint16 or float32; floats have to be in [0, 1]."""
    if array.dtype in (np.uint8, np.uint16):
        return array
    array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise UsageError(f"{name} contains NaN or infinity.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise UsageError(
            f"{name} has values from {low:.6g} to {high:.6g}, but floats have to be in [0, 1]: divide 8-bit values by "
            "255, and clip what lies beyond."
        )
    return array


def _as_type(images: Sequence[NDArray[np.float32]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Images in [0, 1] as one array of a type, integers over their whole range."""
    values: NDArray[Any] = np.stack(images)
    if np.issubdtype(dtype, np.integer):
        values = np.rint(np.clip(values, 0.0, 1.0) * np.float32(np.iinfo(dtype).max))
    return values.astype(dtype)


def _channel_advice(channels: tuple[int, ...]) -> str:
    """What to do with a frame of so many channels, as the end of a sentence."""
    if channels == (1,):
        return "; a grey one can be repeated three times"
    return "; of an RGBA one take the first three channels, and blend its alpha by time" if channels == (4,) else ""
