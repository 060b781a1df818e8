"""The interface of everything that makes frames: `Interpolator`, and the pair it prepares.

    prepare(first, second) ──► Pair ──► at(t) ──► the frame at t
            once a pair                 once a time

What depends only on the two frames (features, flow, correlation) is computed in `prepare`; `at` does what depends
on the time. Times run from 0 (the first frame) to 1 (the second).

Two kinds of model meet here:

- Every model takes and gives pictures: float32 RGB in [0, 1], shape (H, W, 3).
- A model whose frame is wholly described by motion and visibility (its pairs are `MotionPair`) also says what they
  are. The pipeline then warps the planes of the video in their own format, whatever its depth, matrix, range and
  subsampling: no colour conversion, nothing rounded twice.

Conventions: flows are in pixels, (x, y) order, channels last; `flow_t0` is F_{t->0}: where a pixel of frame t is
found in frame 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from betwixt.errors import UsageError
from betwixt.layers.motion import FrameMotion
from betwixt.models.frame_view import FrameView, Image

if TYPE_CHECKING:
    from betwixt.layers.label_maps import LabelMapPair


class Pair(ABC):
    """Two frames, prepared."""

    @abstractmethod
    def at(self, t: float) -> Image:
        """The frame at time `t`, 0 < t < 1: (H, W, 3) RGB float32 in [0, 1]."""


class MotionPair(Pair):
    """Two frames, prepared, whose in-between frames are described by motion."""

    @abstractmethod
    def motion(self, t: float) -> FrameMotion:
        """The motion and visibility at time `t`, 0 < t < 1."""

    def with_neighbours(
        self, before: MotionPair | None, after: MotionPair | None, spans: tuple[float, float] = (1.0, 1.0)
    ) -> MotionPair:
        """This pair with paths that bend as the pairs beside it say; itself, if it knows straight ones alone.

        Args:
            before: The pair whose second frame is the first of this one, prepared by the same model; None if unknown.
            after: The pair whose first frame is the second of this one, likewise.
            spans: How long the two are, as multiples of this one's time.
        """
        return self


def with_neighbours(
    pair: Pair, before: Pair | None, after: Pair | None, spans: tuple[float, float] = (1.0, 1.0)
) -> Pair:
    """`MotionPair.with_neighbours`, for pairs of any kind."""
    if not isinstance(pair, MotionPair):
        return pair
    past, next_ = (side if isinstance(side, MotionPair) else None for side in (before, after))
    return pair.with_neighbours(past, next_, spans)


class PairBatch:
    """Several pairs of frames of one size, prepared together; this one does them one by one."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    def at(self, t: float) -> list[Image]:
        """The frame of every pair at time `t`, 0 < t < 1."""
        return [pair.at(t) for pair in self._pairs]


class Interpolator(ABC):
    """Makes the frames between two frames. Safe to use from several threads at once.

    Attributes:
        name: As `load_model` knows it.
        interpolates: Whether it makes frames in between; a few networks only make the frame after the second.
        extrapolates: Whether it makes the frame after the second by itself (`next_frame`).
        takes_masks: Whether masks may be given with the frames (`prepare_masked`).
        uses_neighbours: Whether its pairs heed the pairs beside them (`MotionPair.with_neighbours`).
        arithmetic: In what it computes, beside its weights: frames that were made in another may differ a little.
    """

    name: str
    arithmetic: str = ""
    interpolates: bool = True
    extrapolates: bool = False
    takes_masks: bool = False
    uses_neighbours: bool = False

    @abstractmethod
    def prepare(self, first: Image, second: Image) -> Pair:
        """Compute what depends only on the two frames, which have the same shape (H, W, 3)."""

    def prepare_views(self, first: FrameView, second: FrameView) -> Pair:
        """As `prepare`, for frames of any kind, of which a model takes what it needs to see."""
        return self.prepare(first.rgb, second.rgb)

    def set_concurrency(self, threads: int) -> None:  # noqa: B027
        """Say how many threads are going to ask at the same time: a hint for speed, before the first of them does."""

    def prepare_masked(self, first: Image, second: Image, masks: LabelMapPair) -> Pair:
        """As `prepare`, with masks of the two frames, for a model that takes them.

        Raises:
            UsageError: if the model takes none.
            InputError: if they are of another size than the frames.
        """
        raise masks_unsupported(self.name)

    def prepare_batch(self, firsts: Sequence[Image], seconds: Sequence[Image]) -> PairBatch:
        """As `prepare`, for several pairs whose frames all have one shape; networks do them in one pass."""
        return PairBatch([self.prepare(first, second) for first, second in zip(firsts, seconds, strict=True)])

    def prepare_between(self, first: Image, second: Image, before: Image | None, after: Image | None) -> Pair:
        """As `prepare`, with the frames at times -1 and 2 where they are known; a model that `curves` heeds them."""
        pair = self.prepare(first, second)
        if not self.uses_neighbours:
            return pair
        earlier = None if before is None else self.prepare(before, first)
        later = None if after is None else self.prepare(second, after)
        return with_neighbours(pair, earlier, later)

    def next_frame(self, first: Image, second: Image) -> Image:
        """The frame as far after `second` as that is after `first`: (H, W, 3) RGB float32 in [0, 1].

        Raises:
            UsageError: if the model only interpolates (`extrapolates` says so).
        """
        raise UsageError(f"The model {self.name} only interpolates: choose one that extrapolates.")

    def frames_after(self, first: Image, second: Image, steps: int) -> Iterator[Image]:
        """The `steps` frames after two pictures (H, W, 3): each from the two before it, or by `dis` (`extrapolate`)."""
        if not self.extrapolates:
            from betwixt.models.dis.interpolator import DIS

            yield from DIS().frames_after(first, second, steps)
            return
        for _ in range(steps):
            first, second = second, self.next_frame(first, second)
            yield second

    def extrapolate(self, first: Any, second: Any, steps: int = 1) -> list[Any]:
        """Make the frames after two frames, in the type they came in.

        A model that extrapolates goes on from frame to frame. For one that only interpolates, the motion that `dis`
        finds between the two frames goes on as it went (`layers.extrapolation`): an honest guess for the next frame or
        two, not the work of the model.

        Args:
            first: A frame, or a batch, as for `between`.
            second: The frame after it, of the same type and shape.
            steps: How many frames to make; the distance between two is that of the two given ones.

        Returns:
            `steps` frames, or batches, of the type, shape and range of `first`.

        Raises:
            UsageError: as `between`; or if `steps` is less than 1.

        Example:
            >>> import numpy as np
            >>> import betwixt
            >>> first = np.full((48, 64, 3), 90, np.uint8)
            >>> frames = betwixt.load_model("dis").extrapolate(first, first, 2)
            >>> len(frames), bool((frames[1] == first).all())
            (2, True)
        """
        if steps < 1:
            raise UsageError(f"{steps} frames cannot be made: give at least 1 step.")
        pictures_a, pictures_b, restore = _alike(first, second)
        made = [self.frames_after(a, b, steps) for a, b in zip(pictures_a, pictures_b, strict=True)]
        return [restore(pictures) for pictures in zip(*made, strict=True)]

    def between(
        self, first: Any, second: Any, times: Iterable[float], *, before: Any = None, after: Any = None
    ) -> list[Any]:
        """Make the frames between two frames, in the type they came in.

        Args:
            first: The frame at time 0. A numpy array (H, W, 3), RGB, uint8 (0 to 255), uint16 (0 to 65535) or float
                (0 to 1); or a torch tensor, float in [0, 1], (3, H, W). Or a batch of N, each beside its own second:
                (N, H, W, 3) or (N, 3, H, W).
            second: The frame at time 1, of the same type and shape.
            times: Times in [0, 1]. 0 and 1 give copies of the frames themselves.
            before: The frame at time -1, if it is known and of the same shot. From it and `after`, `dis`, `compact`
                and `hybrid` learn how motion changes, and things move along curved paths; other models do without.
            after: The frame at time 2, likewise.

        Returns:
            One frame, or batch of frames, for each time, of the type, shape and range of `first`.

        Raises:
            UsageError: if types or shapes differ, a frame is not RGB or not of finite numbers, or a time is no number
                or lies outside [0, 1].

        Example:
            >>> import numpy as np
            >>> import betwixt
            >>> first = np.zeros((48, 64, 3), np.uint8)
            >>> second = np.full((48, 64, 3), 200, np.uint8)
            >>> frames = betwixt.load_model("dis").between(first, second, [0.25, 0.5])
            >>> len(frames), frames[0].shape, frames[0].dtype
            (2, (48, 64, 3), dtype('uint8'))
        """
        check_interpolates(self)
        pictures_a, pictures_b, restore = _alike(first, second)
        try:
            moments = [float(t) for t in times]
        except (TypeError, ValueError):
            raise UsageError("The times are no numbers in a list: give some from 0 to 1, e.g. [0.25, 0.5].") from None
        for t in moments:
            if not 0.0 <= t <= 1.0:
                raise UsageError(f"The time {t:g} lies outside 0 to 1: 0 is the first frame, 1 the second.")
        earlier = None if before is None else _alike(before, first)[0]
        later = None if after is None else _alike(second, after)[1]
        batch = self._prepared(pictures_a, pictures_b, earlier, later) if any(0.0 < t < 1.0 for t in moments) else None
        result = []
        for t in moments:
            if t in (0.0, 1.0) or batch is None:
                source = first if t == 0.0 else second
                result.append(source.copy() if isinstance(source, np.ndarray) else source.clone())
            else:
                result.append(restore(batch.at(t)))
        return result

    def _prepared(
        self, firsts: list[Image], seconds: list[Image], before: list[Image] | None, after: list[Image] | None
    ) -> PairBatch:
        if not self.uses_neighbours or (before is None and after is None):
            return self.prepare_batch(firsts, seconds)
        around = ([None] * len(firsts) if side is None else side for side in (before, after))
        return PairBatch([self.prepare_between(*each) for each in zip(firsts, seconds, *around, strict=True)])


def masks_unsupported(name: str) -> UsageError:
    """What is said where masks are given to the model `name`, which takes none."""
    return UsageError(f"The model {name} takes no masks: leave them out, or choose a model whose name ends in +hm.")


def check_interpolates(model: Interpolator) -> None:
    """Refuse a model that makes no frames in between.

    Raises:
        UsageError: naming the model and what to do.
    """
    if not model.interpolates:
        raise UsageError(
            f"The model {model.name} makes the frame after two frames, none in between: choose one that interpolates."
        )


def _alike(first: Any, second: Any) -> tuple[list[Image], list[Image], Any]:
    """Two frames, or batches, of one kind as pictures, and what turns results back into their type."""
    pictures_a, restore = _to_images(first, "first")
    pictures_b, _ = _to_images(second, "second")
    if type(first) is not type(second) or first.dtype != second.dtype:
        raise UsageError("The two frames differ in type: give both as the same kind of array.")
    if first.shape != second.shape:
        if len(pictures_a) != len(pictures_b):
            raise UsageError(f"{len(pictures_a)} first frames and {len(pictures_b)} second ones: give as many of each.")
        sizes = _size(pictures_a[0]), _size(pictures_b[0])
        raise UsageError(f"The two frames differ in size: {sizes[0]} and {sizes[1]}; scale one to fit the other.")
    return pictures_a, pictures_b, restore


def _size(picture: Image) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _remedy(channels: tuple[int, ...]) -> str:
    """What to do with a frame of so many channels, as the end of a sentence."""
    if channels == (1,):
        return "; a grey one can be repeated three times"
    return "; of an RGBA one take the first three channels, and blend its alpha by time" if channels == (4,) else ""


def _finite(picture: Image, which: str) -> Image:
    if not np.isfinite(picture).all():
        raise UsageError(f"The {which} frame has values that are infinite or not a number.")
    return picture


def _to_images(frame: Any, which: str) -> tuple[list[Image], Any]:
    """A frame, or the frames of a batch, as (H, W, 3) float32 in [0, 1], and what turns results back into its type."""
    if isinstance(frame, np.ndarray):
        if frame.ndim not in (3, 4) or frame.shape[-1] != 3 or not frame.size:
            raise UsageError(
                f"The {which} frame has shape {frame.shape}: expected (height, width, 3), RGB"
                f"{_remedy(frame.shape[-1:] if frame.ndim >= 3 else (1,) * (frame.ndim == 2))}."
            )
        dtype, shape = frame.dtype, frame.shape
        pictures = np.ascontiguousarray(frame, np.float32).reshape(-1, *shape[-3:])
        if dtype in (np.uint8, np.uint16):
            top = float(np.iinfo(dtype).max)
            return (
                list(pictures / np.float32(top)),
                lambda x: np.rint(np.clip(np.stack(x), 0.0, 1.0) * np.float32(top)).astype(dtype).reshape(shape),
            )
        if np.issubdtype(dtype, np.floating):
            return list(_finite(pictures, which)), lambda x: np.stack(x).astype(dtype).reshape(shape)
        raise UsageError(f"The {which} frame is of type {dtype}: use uint8, uint16 or float in [0, 1].")
    if type(frame).__module__.split(".")[0] == "torch":
        if frame.ndim not in (3, 4) or frame.shape[-3] != 3 or not frame.numel():
            raise UsageError(
                f"The {which} frame has shape {tuple(frame.shape)}: expected (3, height, width), or a batch of such"
                f"{_remedy(frame.shape[-3:-2])}."
            )
        if not frame.is_floating_point():
            raise UsageError(f"The {which} frame is of type {frame.dtype}: use a float tensor in [0, 1].")
        tensors = frame.detach().reshape(-1, *frame.shape[-3:]).permute(0, 2, 3, 1)
        array = np.ascontiguousarray(tensors.float().cpu().numpy())

        def restore(images: list[Image]) -> Any:
            return frame.new_tensor(np.stack(images).transpose(0, 3, 1, 2)).reshape(frame.shape)

        return list(_finite(array, which)), restore
    raise UsageError(f"The {which} frame is a {type(frame).__name__}: use a numpy array or a torch tensor.")
