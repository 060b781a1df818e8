"""The frames of a conversion for a program, one after the other, in place of a file.

    director thread, reader thread, worker pool (`production`) ──► FrameIterator ──► OutputFrame, in the caller's loop

The frames are those that `interpolate_video` would encode. A few are made ahead; memory does not grow with the video.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self, Unpack

import av
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import DamagedInputError
from betwixt.media.images.convert import Alpha, Image, frame_to_image, to_8_bit
from betwixt.media.presentation import Presentation
from betwixt.media.source import Source
from betwixt.pipeline.channel import Stopped
from betwixt.pipeline.director import Director
from betwixt.pipeline.frame_job import FrameJob
from betwixt.pipeline.options import FRAMES, FramesOptions, OptionSet, check_choice, takes_options
from betwixt.pipeline.production import MadeFrame, Production

DTYPES = ("uint8", "uint16", "float32")
"""The types of samples that images may be asked for in."""

_OWN_THREADS = "betwixt-"
"""How the names of the pipeline's threads begin."""


class _FramesJob(FrameJob):
    """The job of `frames`.

    Attributes:
        presentation: Turns frames upright.
    """

    declared: ClassVar[OptionSet] = FRAMES

    def prepare(self) -> None:
        super().prepare()
        self.presentation = Presentation(self.reader.info, keeps_aspect=True, keeps_hdr=True)


class OutputFrame:
    """A frame that `frames` yields.

    Attributes:
        index: Its number, from 0.
        time: When it is shown, in seconds from the first frame of the output: `index` / rate, exact.
        source_time: The moment that it shows, in seconds from the first frame of the source, as `start` and `end` are.
            It is not `time` if the output is slower than the source or begins later.
        kind: "untouched": a source frame at its own time; "held": a source frame in place of one that cannot be
            interpolated, next to a cut or after the last frame; "synthesized": a new frame.
        video: The frame in the pixel format of the source. A source frame is as it was decoded or given, bit by bit. Do
            not change its samples, on which later frames depend. Its own time stamp says nothing about the output.
    """

    def __init__(
        self,
        index: int,
        time: Fraction,
        source_time: Fraction,
        kind: Literal["untouched", "held", "synthesized"],
        video: av.VideoFrame,
        presentation: Presentation,
        dtype: str | None,
    ) -> None:
        self.index, self.time, self.source_time, self.kind, self.video = index, time, source_time, kind, video
        self._presentation, self._dtype = presentation, dtype

    @property
    def synthesized(self) -> bool:
        """Whether it is new, and not a frame of the source."""
        return self.kind == "synthesized"

    @property
    def image(self) -> NDArray[Any]:
        """The frame as an upright RGB image, (H, W, 3), converted on first use.

        It is uint8 for sources of 8 bits, uint16 (0 to 65535) for deeper ones, or of the `dtype` that was asked for;
        float32 is in [0, 1]. The transfer function is the source's, so HDR stays HDR, and pixels that are not square
        stay so.
        """
        return self._image_and_alpha[0]

    @property
    def alpha(self) -> NDArray[Any] | None:
        """The opacity, (H, W), of the type of `image`; None if the source has none."""
        return self._image_and_alpha[1]

    @functools.cached_property
    def _image_and_alpha(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        shown = self._presentation.apply(self.video)
        image, alpha = frame_to_image(shown, self._presentation.info.colour)
        return _as_type(image, self._dtype), None if alpha is None else _as_type(alpha, self._dtype)

    def __repr__(self) -> str:
        size = f"{self.video.width}x{self.video.height}"
        return f"<OutputFrame {self.index} at {float(self.time):g} s, {size} {self.video.format.name}, {self.kind}>"


class FrameIterator(Iterator[OutputFrame]):
    """The frames that `frames` makes, in order.

    Threads work ahead from the first frame on, until the last one, `close`, the end of a ``with`` block, or until
    nothing refers to the iterator any more.

    Attributes:
        source: The properties of the source (`betwixt.media.probe.VideoInfo`).
        rate: Frames per second of the output.
        total: How many frames there will be; None if the source does not state its length.
        model: The name of the model.
    """

    def __init__(self, job: _FramesJob, dtype: str | None = None) -> None:
        self.source = job.reader.info
        self.rate, self.total, self.model = job.rates.output, job.frames_out, job.model.name
        self._sampling, self._begin = job.rates.sampling, job.start_time - job.reader.info.start
        self._presentation, self._dtype, self._reader = job.presentation, dtype, job.reader
        self._production = Production(job, Director)
        self._items = self._production.frames()
        self._thread = threading.Thread(
            target=_produce, args=(job, self._production), name=f"{_OWN_THREADS}direct", daemon=True
        )
        # It also runs when the interpreter exits, so that no thread is left in the middle of its work.
        self._finalizer = weakref.finalize(self, _finish, job, self._production, self._thread)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, so far."""
        return self._production.notes()

    def __next__(self) -> OutputFrame:
        """The next frame; waits until it is made.

        Raises:
            DamagedInputError: after the last frame, if the source is damaged.
            BetwixtError: if the source cannot be read further. Exceptions of an iterable of frames are passed on.
        """
        if not self._finalizer.alive:
            raise StopIteration
        if self._thread.ident is None:
            self._thread.start()
        try:
            made = next((item for item in self._items if isinstance(item, MadeFrame)), None)
        except BaseException:
            self.close()
            raise
        if made is not None:
            return self._output_frame(made)
        self.close()
        if self._reader.damage is not None:
            raise DamagedInputError(
                f"{self._reader.name} is damaged: {self._reader.damage}. What could be read was made into frames."
            )
        raise StopIteration

    def _output_frame(self, made: MadeFrame) -> OutputFrame:
        assert made.video is not None
        index = made.index
        source_time = self._begin + index / self._sampling
        return OutputFrame(
            index, index / self.rate, source_time, made.kind, made.video, self._presentation, self._dtype
        )

    def close(self) -> None:
        """End the threads and close the source; there are no further frames."""
        self._finalizer()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _produce(job: FrameJob, production: Production) -> None:
    """Make all frames."""
    try:
        production.start()
        production.direct()
    except Stopped:
        pass
    except BaseException as error:
        production.fail(error)
    finally:
        production.close()
        job.close()


def _finish(job: FrameJob, production: Production, thread: threading.Thread) -> None:
    """Stop the production and wait for its end, unless this thread may be one that the production waits for."""
    if thread.ident is None:
        job.close()
        return
    production.stop()
    # The garbage collector calls this in any thread.
    if not threading.current_thread().name.startswith(_OWN_THREADS):
        thread.join()


def _as_type(samples: Image | Alpha, dtype: str | None) -> NDArray[Any]:
    """Samples as one of `DTYPES`; None leaves them as they are."""
    if dtype is None or samples.dtype == dtype:
        return samples
    if dtype == "uint8":
        return to_8_bit(samples)
    if dtype == "uint16":
        return samples.astype(np.uint16) * np.uint16(257)
    return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)


@takes_options(FRAMES)
def frames(source: Source, *, dtype: str | None = None, **options: Unpack[FramesOptions]) -> FrameIterator:
    """The frames of a video at another rate, one after the other: those that `betwixt.interpolate_video` would encode.

    Without `fps`, `factor` and `slow` the frame rate doubles. Frames are made as they are asked for, a few ahead.

    Args:
        source: A video in any container FFmpeg reads, a folder or pattern of images, an open binary file, or an
            iterable of frames. Its items are images (numpy arrays (H, W, 3), RGB, uint8, uint16 or float in [0, 1];
            torch tensors (3, H, W); PIL images), `av.VideoFrame`s, or pairs of one of these and its time in seconds.
            Images without times have the rate `input_fps`.
        dtype: The type of the samples of `OutputFrame.image`: "uint8", "uint16" or "float32". By default uint8 for
            sources of 8 bits, else uint16.
        **options: See `betwixt.pipeline.options.FramesOptions`.

    Returns:
        An iterator over `OutputFrame`s.

    Raises:
        UsageError: for a wrong argument.
        InputError: if the source cannot be used.

    Example:
        >>> import betwixt
        >>> for frame in betwixt.frames("in.mp4", fps=50, model="dis", end=0.08):
        ...     print(frame.index, frame.time, frame.image.shape, frame.kind)
        0 0 (64, 96, 3) untouched
        1 1/50 (64, 96, 3) synthesized
        2 1/25 (64, 96, 3) untouched
        3 3/50 (64, 96, 3) synthesized
    """
    FRAMES.check(options, "frames")
    if dtype is not None:
        check_choice("dtype", dtype, DTYPES)
    return FrameIterator(_FramesJob(source, options), dtype)
