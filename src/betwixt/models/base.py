"""The interface of every model: `Interpolator`, and the `Pair` it prepares.

    prepare(first, second) ──► Pair ──► at(t) ──► the frame at t
          once a pair                once a time

`prepare` computes what depends on the two frames alone (features, flow, correlation); `at` computes what depends on
the time. Times run from 0 (the first frame) to 1 (the second).

There are two kinds of models:

- Every model maps images to images: float32 RGB in [0, 1], shape (H, W, 3).
- A model whose pairs are `MotionPair`s also describes the new frame by flows and weights. The pipeline then warps the
  planes of the video in their own format, whatever its bit depth, matrix, range and subsampling, without a colour
  conversion and without rounding twice.

Conventions: flows are in pixels, (x, y) order, channels last; `flow_t0` is F_{t->0}: where a pixel of frame t is found
in frame 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from betwixt.backends.backend import Backend
from betwixt.errors import UsageError
from betwixt.images import read_image_pair
from betwixt.layers.motion import FrameMotion
from betwixt.models.frame_view import FrameView, Image
from betwixt.models.maps import IntermediateMap, Maps, motion_maps
from betwixt.models.references import resolve

if TYPE_CHECKING:
    from betwixt.layers.label_maps import LabelMapPair

Flow = NDArray[np.float32]
"""(h, w, 2): the motion of each pixel, (x, y) in pixels."""

GivenT = TypeVar("GivenT")
"""The type in which a caller gives images: an array, a tensor or a PIL image."""

_EXTRAPOLATOR = "betwixt.models.dis.interpolator:DIS"
"""The model that extrapolates for models that only interpolate."""


class Pair(ABC):
    """Two frames, prepared for interpolation."""

    @abstractmethod
    def at(self, t: float) -> Image:
        """The frame at time `t`, 0 < t < 1: (H, W, 3) RGB float32 in [0, 1]."""

    def displacement(self, t: float) -> Flow | None:
        """The motion from frame 0 to frame 1 that the frame at `t` is made with, at its pixels: (h, w, 2) in pixels of
        the frame, h <= H, w <= W; None if the model has none or does not tell it.
        """
        return None

    def maps(self, t: float) -> Maps:
        """The maps that the frame at `t` is made with, by the names that `betwixt.models.maps` lists; none if the model
        has none or does not tell them.
        """
        displacement = self.displacement(t)
        return {} if displacement is None else {"displacement": IntermediateMap("flow", displacement)}

    def with_neighbours(self, before: Pair | None, after: Pair | None, spans: tuple[float, float] = (1.0, 1.0)) -> Pair:
        """This pair with curved paths, estimated from the neighbouring pairs; itself if it knows only straight ones.

        Args:
            before: The pair whose second frame is the first of this one, prepared by the same model; None if unknown.
            after: The pair whose first frame is the second of this one, prepared by the same model; None if unknown.
            spans: The durations of the two, as multiples of this pair's.
        """
        return self


class MotionPair(Pair):
    """Two prepared frames whose in-between frames are described by motion."""

    @abstractmethod
    def motion(self, t: float) -> FrameMotion:
        """The motion at time `t`, 0 < t < 1."""

    def displacement(self, t: float) -> Flow | None:
        """The motion from frame 0 to frame 1; of two motions, their weighted mean."""
        return self.motion(t).displacement()

    def maps(self, t: float) -> Maps:
        """The flows, the fusion mask and the corrections at time `t`."""
        return motion_maps(self.motion(t))


class PairBatch:
    """Several pairs of frames of one size; this class runs them one by one."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    def at(self, t: float) -> list[Image]:
        """The frame of every pair at time `t`, 0 < t < 1."""
        return [pair.at(t) for pair in self._pairs]


class Interpolator(ABC):
    """Makes the frames between two frames. Safe to use from several threads at once.

    Attributes:
        name: The name under which `load_model` loads it.
        interpolates: Whether it makes frames in between; a few networks only make the frame after the second.
        extrapolates: Whether it makes the frame after the second by itself (`next_frame`).
        takes_masks: Whether it takes masks with the frames (`prepare_masked`).
        uses_neighbours: Whether its pairs use the neighbouring frames (`Pair.with_neighbours`).
        scales: The scales that `with_scale` takes; empty if it takes none.
        backend: Where and how its network runs; None without one.
        arithmetic: The backend in words; frames computed in another arithmetic may differ a little.
    """

    name: str
    backend: Backend | None = None
    arithmetic: str = ""
    interpolates: bool = True
    extrapolates: bool = False
    takes_masks: bool = False
    uses_neighbours: bool = False
    scales: tuple[float, ...] = ()

    @abstractmethod
    def prepare(self, first: Image, second: Image) -> Pair:
        """Compute what depends on the two frames alone; they have the same shape (H, W, 3)."""

    def prepare_views(self, first: FrameView, second: FrameView) -> Pair:
        """Like `prepare`, for views of frames, from which the model takes what it needs."""
        return self.prepare(first.rgb, second.rgb)

    def with_scale(self, scale: float) -> Interpolator:
        """This model with motion estimated at `scale` times its usual size; the weights are shared.

        A smaller scale finds larger motion; a larger one suits small frames with fine motion.

        Raises:
            UsageError: if `scale` is not one of `scales`.
        """
        if not self.scales:
            raise UsageError(
                f"The model {self.name} estimates motion at a size of its own: leave out `scale`, or choose dis, fast, "
                "ema-vfi or a version of RIFE 4."
            )
        if scale not in self.scales:
            *others, last = (f"{value:g}" for value in self.scales)
            raise UsageError(f"`scale` is {scale:g}: {self.name} takes {', '.join(others)} or {last}.")
        return self._at_scale(scale)

    def _at_scale(self, scale: float) -> Interpolator:
        raise NotImplementedError

    def set_concurrency(self, threads: int) -> None:  # noqa: B027
        """Announce how many threads will use the model at once: a hint for speed, given before they start."""

    def prepare_masked(self, first: Image, second: Image, masks: LabelMapPair) -> Pair:
        """Like `prepare`, with masks of the two frames, for a model that takes them.

        Raises:
            UsageError: if the model takes no masks.
            InputError: if the masks differ in size from the frames.
        """
        raise masks_unsupported(self.name)

    def prepare_batch(self, firsts: Sequence[Image], seconds: Sequence[Image]) -> PairBatch:
        """Like `prepare`, for several pairs of frames of one shape; networks run them in one pass."""
        return PairBatch([self.prepare(first, second) for first, second in zip(firsts, seconds, strict=True)])

    def prepare_between(self, first: Image, second: Image, before: Image | None, after: Image | None) -> Pair:
        """Like `prepare`, with the frames at times -1 and 2 where they are known."""
        pair = self.prepare(first, second)
        if not self.uses_neighbours:
            return pair
        pair_before = None if before is None else self.prepare(before, first)
        pair_after = None if after is None else self.prepare(second, after)
        return pair.with_neighbours(pair_before, pair_after)

    def next_frame(self, first: Image, second: Image) -> Image:
        """The frame as far after `second` as that is after `first`: (H, W, 3) RGB float32 in [0, 1].

        Raises:
            UsageError: if the model only interpolates (see `extrapolates`).
        """
        raise UsageError(f"The model {self.name} only interpolates: choose one that extrapolates.")

    def next_displacement(self, first: Image, second: Image) -> Flow | None:
        """The motion between two frames that `next_frame` uses, as `Pair.displacement` gives it."""
        return self.prepare_next(first, second).displacement(2.0)

    def prepare_next(self, first: Image, second: Image) -> Pair:
        """Like `prepare`, for the frame after the second, at t = 2, by a model that extrapolates."""
        return self.prepare(first, second)

    def frames_after(self, first: Image, second: Image, steps: int) -> Iterator[Image]:
        """The `steps` frames after two images (H, W, 3), as `extrapolate` describes."""
        if not self.extrapolates:
            yield from resolve(_EXTRAPOLATOR)().frames_after(first, second, steps)
            return
        for _ in range(steps):
            first, second = second, self.next_frame(first, second)
            yield second

    def extrapolate(self, first: GivenT, second: GivenT, steps: int = 1) -> list[GivenT]:
        """Make the frames after two frames, in the type they are given in.

        A model that extrapolates makes each frame from the two before it. For one that only interpolates, `dis`
        continues the motion that it finds between the two frames (`layers.extrapolation`): a fair guess for the next
        frame or two, but not the work of this model.

        Args:
            first: A frame, or a batch, as for `between`.
            second: The frame after it, of the same type and shape.
            steps: How many frames to make, at the distance of the two given ones.

        Returns:
            `steps` frames, or batches, of the type, shape and range of `first`.

        Raises:
            UsageError: as for `between`; or if `steps` is less than 1.

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
        given = read_image_pair(first, second)
        sequences = [self.frames_after(a, b, steps) for a, b in zip(*(g.as_floats() for g in given), strict=True)]
        return [given[0].restore(images) for images in zip(*sequences, strict=True)]

    def between(
        self,
        first: GivenT,
        second: GivenT,
        times: Iterable[float],
        *,
        before: GivenT | None = None,
        after: GivenT | None = None,
    ) -> list[GivenT]:
        """Make the frames between two frames, in the type they are given in.

        Args:
            first: The frame at time 0: a numpy array (H, W, 3), a torch tensor (3, H, W), or a PIL image of mode RGB.
                Arrays and tensors are RGB, uint8 (0 to 255), uint16 (0 to 65535) or float (0 to 1). Or a batch of N
                frames, each interpolated with its own second one: (N, H, W, 3) or (N, 3, H, W).
            second: The frame at time 1, of the same type and shape.
            times: Times in [0, 1]. 0 and 1 give copies of the frames themselves.
            before: The frame at time -1, if it is known and belongs to the same shot. From it and `after`, `dis`,
                `fast`, `compact` and `hybrid` estimate curved paths; other models ignore both.
            after: The frame at time 2, if it is known and belongs to the same shot.

        Returns:
            One frame, or batch of frames, for each time, of the type, shape and range of `first`.

        Raises:
            UsageError: if types or shapes differ, a frame is not RGB, not finite or beyond [0, 1], or a time is not a
                number in [0, 1].

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
        given, given_second = read_image_pair(first, second)
        try:
            times = [float(t) for t in times]
        except (TypeError, ValueError):
            raise UsageError("`times` has to be a list of numbers from 0 to 1, e.g. [0.25, 0.5].") from None
        for t in times:
            if not 0.0 <= t <= 1.0:
                raise UsageError(f"The time {t:g} lies outside 0 to 1: 0 is the first frame, 1 the second.")
        firsts, seconds = given.as_floats(), given_second.as_floats()
        images_before = images_after = None
        if before is not None:
            images_before = read_image_pair(before, first, ("`before`", "The first frame"))[0].as_floats()
        if after is not None:
            images_after = read_image_pair(second, after, ("The second frame", "`after`"))[1].as_floats()
        batch = None
        if any(0.0 < t < 1.0 for t in times):
            if self.uses_neighbours and (images_before or images_after):
                unknown = [None] * len(firsts)
                groups = zip(firsts, seconds, images_before or unknown, images_after or unknown, strict=True)
                batch = PairBatch([self.prepare_between(*group) for group in groups])
            else:
                batch = self.prepare_batch(firsts, seconds)
        result = []
        for t in times:
            if t in (0.0, 1.0) or batch is None:
                result.append((given if t == 0.0 else given_second).copy())
            else:
                result.append(given.restore(batch.at(t)))
        return result


def masks_unsupported(name: str) -> UsageError:
    """The error to raise where masks are given to a model that takes none."""
    return UsageError(f"The model {name} takes no masks: leave them out, or choose a model whose name ends in +hm.")


def check_interpolates(model: Interpolator) -> None:
    """Raise a `UsageError` if the model makes no frames in between."""
    if not model.interpolates:
        raise UsageError(
            f"The model {model.name} makes the frame after two frames, none in between: choose one that interpolates."
        )
