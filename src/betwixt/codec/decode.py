"""`betwixt decode`: every frame of the video again, at its exact time.

    IN.mkv ── record ──► times, mask, bits of B frames
       │                          │
       └─ base stream ── decode ──┴──► sent frames as they are, B frames synthesized or decoded ──► OUT

Damage does not stop it where something can be made of what is left: a frame that is missing is made from its neighbours
in the same shot, or the nearest one is held; a B frame whose bits are damaged is synthesized. All of it is said, and
the command then ends with exit code 3, as for any damaged input.
"""

from __future__ import annotations

import itertools
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error

from betwixt.codec.encode import ATTACHMENT, TAG, checksum
from betwixt.codec.pairs import PairChain, map_in_order, single_threaded_kernels
from betwixt.codec.restore_data import RestoreData, unpack
from betwixt.errors import DamagedInputError, InputError, UsageError
from betwixt.files import check_output, files_fingerprint
from betwixt.machine import available_cores
from betwixt.media import codecs
from betwixt.media.attachments import read_attachment
from betwixt.media.journal import Journal, abort_output
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter, can_keep_journal
from betwixt.models.base import Interpolator
from betwixt.models.registry import MODELS, choose_model
from betwixt.runtime.load import hash_weights, load_model
from betwixt.runtime.synthesis import PairSynthesis
from betwixt.signals import defer_signals
from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder

__all__ = ["Decoded", "decode_video", "read_restore_data"]


@dataclass
class Decoded:
    """What a decoding did.

    Attributes:
        output: The file.
        mode: As it was encoded.
        model: The model that synthesized.
        frames: Frames written.
        sent: Frames of the base stream among them.
        coded: B frames decoded by the network.
        synthesized: B frames synthesized.
        concealed: Frames that had to be made up, since what was sent of them is damaged.
        differing: B frames whose checksum is not the encoder's.
        earlier: Frames that an earlier run had encoded before it was broken off.
        rate: Frames a second.
        duration: In seconds.
        seconds: How long it took.
        encoder: What encoded the output.
        lost: What the output's container could not hold.
        notes: What a person should know.
        damage: What is wrong with the input; None if nothing.
    """

    output: str
    mode: str
    model: str
    frames: int = 0
    sent: int = 0
    coded: int = 0
    synthesized: int = 0
    concealed: int = 0
    differing: int = 0
    earlier: int = 0
    rate: Fraction = Fraction(0)
    duration: Fraction = Fraction(0)
    seconds: float = 0.0
    encoder: str = ""
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damage: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: fractions as text and as numbers."""
        return asdict(self) | {"rate": str(self.rate), "duration": float(self.duration)}


def read_restore_data(reader: Reader) -> tuple[RestoreData, list[int]]:
    """The record of an encoded file, and the numbers of the B frames whose bits are damaged.

    Raises:
        InputError: if the file has none, it is damaged, or of another version.
    """
    data = read_attachment(reader.container, ATTACHMENT)
    if data is None:
        tagged = any(key.upper() == TAG for key in reader.info.metadata)
        raise InputError(
            f"{reader.name} has lost its restore data ({ATTACHMENT}): copy the file again, or play it as it is."
            if tagged
            else f"{reader.name} was not made by betwixt encode: it plays as it is, or see betwixt interpolate."
        )
    return unpack(data, reader.name)


def decode_video(
    source: str | Path,
    target: str | Path,
    *,
    model: str | Interpolator | None = None,
    weights: str | Path | None = None,
    codec_weights: str | Path | None = None,
    codec: str | None = None,
    quality: str | int | None = None,
    pixel_format: str | None = None,
    device: str = "auto",
    threads: int = 0,
    overwrite: bool = False,
    journal: bool = True,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Decoded:
    """Restore every frame of a video that `encode_video` made.

    Args:
        source: The .mkv file.
        target: The video file; the suffix says which container.
        model: The model that synthesizes, by name or loaded; None for the one it was encoded with.
        weights: A file of its weights.
        codec_weights: The file of weights of the network that coded B frames (bit-need).
        codec: As in `interpolate_video`; the same for what follows.
        quality: On the encoder's own scale, or "lossless".
        pixel_format: What to encode in.
        device: Where the model runs.
        threads: How many to use; 0 for one a core.
        overwrite: Replace an existing output.
        journal: As in `interpolate_video`: the same call goes on where an earlier one was broken off.
        progress: Called with what is being done, how many frames are done, and of how many.

    Raises:
        UsageError: for arguments that are wrong.
        InputError: if the file was not made by `encode_video`, its restore data is damaged or of another version.
        OutputError: if the target cannot be written.
        DamagedInputError: if frames had to be made up; what could be restored has been written. `summary` says what.
    """
    began = time.monotonic()
    if threads < 0:
        raise UsageError(f"The number of threads ({threads}) must not be negative.")
    target = Path(target)
    check_output(target, source, overwrite)
    with Reader(source, interlaced="ignore", threads=min(threads or available_cores(), 16)) as reader:
        record, broken = read_restore_data(reader)
        job = _Restoring(reader, record, broken, Path(source), threads or available_cores(), progress)
        job.load(model, weights, codec_weights, device)
        rate = record.rate if not record.variable else len(record.ticks) / record.duration
        quality = None if quality is None else str(quality)
        writer: VideoWriter | None = None
        try:
            with defer_signals():
                writer = VideoWriter(
                    target,
                    reader.info,
                    rate,
                    start=record.start,
                    codec=codec,
                    quality=quality,
                    pixel_format=pixel_format,
                    threads=threads,
                    tick=record.tick,
                    timestamps=record.ticks,
                    last_duration=record.last,
                    journal=job.open_journal(target, codec, quality, pixel_format, overwrite) if journal else None,
                )
            with single_threaded_kernels():
                writer.copy_streams(reader.container, reader.stream, TimeMap(), without=(ATTACHMENT, TAG))
                summary = job.run(writer)
                writer.commit()
        except BaseException as cause:
            if writer is not None and (told := abort_output(writer.abort, cause)) is not cause:
                raise told from None
            raise
    summary.output, summary.rate, summary.duration = str(target), rate, record.duration
    summary.seconds, summary.encoder = time.monotonic() - began, writer.encoder.name
    summary.lost = writer.lost
    summary.notes += writer.notes
    if summary.damage is not None:
        error = DamagedInputError(
            f"{source} is damaged: {summary.damage}. "
            f"What could be restored was written to {target}: {summary.frames} frames."
        )
        error.summary = summary
        raise error
    return summary


@dataclass(frozen=True)
class _Show:
    """A frame that is shown as it is; `held` where it stands in for one that is missing."""

    number: int
    video: av.VideoFrame
    held: bool = False


@dataclass(frozen=True)
class _Make:
    """Frames to be made between two decoded ones."""

    left: int
    right: int
    work: PairSynthesis


@dataclass(frozen=True)
class _Made:
    """A frame that was made: how ("synthesized", "coded", "differing"), and whether it should have been sent.

    It is None where an earlier run has encoded it.
    """

    number: int
    video: av.VideoFrame | None
    how: str
    concealed: bool


class _Restoring:
    """One decoding."""

    def __init__(
        self,
        reader: Reader,
        record: RestoreData,
        broken: list[int],
        source: Path,
        threads: int,
        progress: Callable[[str, int, int | None], None] | None,
    ) -> None:
        self._reader, self._record, self._threads, self._progress = reader, record, threads, progress
        self._source, self._broken = source, set(broken)
        self._used: str | None = None
        self._journal: Journal | None = None
        self._done = 0
        self._told: dict[str, set[int]] = {}
        self._damaged_packets = _damaged_packets(source, record)
        self._coder: BFrameCoder | None = None
        self._begins = sorted(record.shots)

    def load(
        self,
        model: str | Interpolator | None,
        weights: str | Path | None,
        codec_weights: str | Path | None,
        device: str,
    ) -> None:
        """Load what makes the frames; note where that is not what encoded them."""
        record, name = self._record, self._reader.name
        self.notes: list[str] = []
        if record.mode == "bit-need":
            from betwixt.codec.coder import load_coder

            self._coder = load_coder(codec_weights)
            if self._coder.weights != record.codec_weights:
                raise InputError(
                    f"{name} was coded with weights {record.codec_weights}, and those at hand are "
                    f"{self._coder.weights}: pass the right ones with --codec-weights FILE."
                )
        elif codec_weights is not None:
            raise UsageError(f"{name} is bit-free: leave --codec-weights out.")
        if isinstance(model, Interpolator):
            self.model = model
            return
        if model is None and record.model not in MODELS:
            raise InputError(
                f"{name} was made with the model {record.model}, which this Betwixt does not have: choose another with "
                "--model."
            )
        chosen = choose_model(model or record.model, weights)
        # Frames come out alike whatever the machine is good at.
        self.model = load_model(chosen, device, weights=weights, precision="fp32")
        self._used = used = hash_weights(chosen, weights)
        if chosen != record.model:
            self.notes.append(f"It was encoded with the model {record.model}: frames made by {chosen} will differ.")
        elif used != record.weights:
            self.notes.append(
                f"It was encoded with weights {record.weights or 'none'} of {chosen}, and those at hand are "
                f"{used or 'none'}: frames will differ a little."
            )

    def open_journal(
        self, target: Path, codec: str | None, quality: str | None, pixel_format: str | None, overwrite: bool
    ) -> Journal | None:
        """Where this run leaves what it has done if it is broken off; None where none can be gone on with."""
        info, container = self._reader.info, codecs.container_of(target)
        encoder, chosen = codecs.resolve_encoding(codec, container, quality, pixel_format, info, self._threads)
        if self._used is None or not can_keep_journal(encoder, chosen):
            return None
        settings = {
            "version": __version__,
            "conversion": "decode",
            "source": files_fingerprint([self._source]),
            "model": self.model.name,
            "weights": self._used,
            "codec-weights": None if self._coder is None else self._coder.weights,
            "arithmetic": self.model.arithmetic,
            "codec": encoder,
            "quality": quality,
            "pixel-format": chosen,
            "name": target.name,
        }
        self._journal = Journal(target, settings, overwrite)
        self._told = {what: set(self._journal.noted_frames(what)) for what in ("differing", "undecodable")}
        return self._journal

    def run(self, writer: VideoWriter) -> Decoded:
        """Write every frame, and the packets of the other streams."""
        record = self._record
        summary = Decoded("", record.mode, self.model.name)
        self._done = writer.resumed_frames
        for done in map_in_order(self._steps(), self._work, self._threads):
            if isinstance(done, StreamPacket):
                writer.copy(done)
                continue
            for item in done:
                if item.number < self._done:
                    writer.write_from_journal()
                    summary.earlier += 1
                else:
                    assert item.video is not None
                    self._tell(item)
                    writer.write(item.video, item.number)
                summary.frames += 1
                if isinstance(item, _Show):
                    summary.concealed += item.held
                    summary.sent += not item.held
                else:
                    summary.concealed += item.concealed
                    summary.coded += item.how != "synthesized"
                    summary.synthesized += item.how == "synthesized" and not item.concealed
                    summary.differing += item.how == "differing"
            if self._progress is not None:
                self._progress("restoring", summary.frames, len(record.ticks))
        earlier = [f"{self._done} frames are those of an earlier run that was broken off."] if self._done else []
        summary.notes = [*earlier, *self.notes, *self._reader.notes]
        summary.damage = self._damage(summary)
        return summary

    def _tell(self, item: _Show | _Made) -> None:
        """Keep of a frame for another run what only making it shows."""
        if self._journal is None or not isinstance(item, _Made) or item.number not in self._record.coded:
            return
        if item.how == "differing" or item.concealed:
            self._journal.note_frame("differing" if item.how == "differing" else "undecodable", item.number)

    def _damage(self, summary: Decoded) -> str | None:
        """What is wrong with the input, as a part of a sentence."""
        found = []
        bad = self._damaged_packets
        if bad:
            at = float(self._record.start + self._record.time(bad[0]))
            found.append(f"{len(bad)} of its frames arrived damaged, the first at {at:.2f} s; what follows may show it")
        elif self._reader.damage and summary.concealed:
            found.append(self._reader.damage)
        if summary.concealed:
            found.append(f"{summary.concealed} frames were made up")
        if summary.differing:
            writer = self._record.writer
            who = f"Betwixt {writer} made them" if writer != __version__ else "another kind of machine, or damage"
            found.append(f"{summary.differing} B frames differ from what the encoder made ({who})")
        return "; ".join(found) if found else None

    # -- which frames

    def _steps(self) -> Iterator[_Show | _Make | StreamPacket]:
        """What to show and what to make, in order; an interval waits until the one after it is known."""
        record = self._record
        count = len(record.ticks)
        sent = [k for k, here in enumerate(record.sent) if here]
        stands = [record.start + record.time(k) for k in sent]
        spacing = min((b - a for a, b in itertools.pairwise(stands)), default=Fraction(1))
        tolerance = max(Fraction(2, 1000), spacing / 4)
        chain = PairChain(self.model, self._reader.info.colour, record.ticks, record.paths == "curved")
        number = -1  # the last one given
        video: av.VideoFrame | None = None
        waiting: list[_Show | _Make | StreamPacket] = []
        for item in self._reader:
            if isinstance(item, StreamPacket):
                waiting.append(item)
                continue
            here = _nearest(stands, item.time)
            if abs(stands[here] - item.time) > tolerance or sent[here] <= number:
                continue  # a damaged time: the frame belongs nowhere
            now = sent[here]
            work = chain.add(now, item.video, self._boundary(number) <= now)
            yield from waiting
            waiting = [*self._gap(number, now, video, item.video, work), _Show(now, item.video)]
            number, video = now, item.video
        if video is None:
            raise InputError(f"{self._reader.name} holds no frame that can be decoded: copy the file again.")
        yield from waiting
        for missing in range(number + 1, count):
            yield _Show(missing, video, held=True)

    def _boundary(self, number: int) -> int:
        """The frame that begins the shot after that of frame `number`."""
        at = bisect_left(self._begins, number + 1)
        return self._begins[at] if at < len(self._begins) else len(self._record.ticks)

    def _gap(
        self, left: int, right: int, first: av.VideoFrame | None, second: av.VideoFrame, work: PairSynthesis | None
    ) -> Iterator[_Show | _Make]:
        """The frames between two decoded ones."""
        if first is None:
            for number in range(left + 1, right):
                yield _Show(number, second, held=True)
        elif work is not None:
            if right - left > 1:
                yield _Make(left, right, work)
        else:
            boundary = self._boundary(left)
            for number in range(left + 1, right):
                yield _Show(number, first if number < boundary else second, held=True)

    # -- making them

    def _work(self, step: _Show | _Make | StreamPacket) -> list[_Show | _Made] | StreamPacket:
        if isinstance(step, StreamPacket):
            return step
        if isinstance(step, _Show):
            return [step]
        record = self._record
        work = step.work
        first, second = work.sources
        span = record.ticks[step.right] - record.ticks[step.left]
        whole = not any(record.sent[step.left + 1 : step.right])
        result: list[_Show | _Made] = []
        for number in range(step.left + 1, step.right):
            t = Fraction(record.ticks[number] - record.ticks[step.left], span)
            coded = record.coded.get(number)
            lost = record.sent[number] or coded is not None or number in self._broken
            if number < self._done:
                differs = number in self._told.get("differing", ())
                decodable = coded is not None and self._coder is not None and whole
                if decodable and number not in self._told.get("undecodable", ()):
                    result.append(_Made(number, None, "differing" if differs else "coded", False))
                else:
                    result.append(_Made(number, None, "synthesized", lost))
                continue
            if coded is not None and self._coder is not None and whole:
                video = self._coder.decode(first, second, coded.payload, t)
                if video is not None:
                    how = "coded" if checksum(video) == coded.checksum else "differing"
                    result.append(_Made(number, video, how, False))
                    continue
            result.append(_Made(number, work.synthesize([t])[0], "synthesized", lost))
        return result


def _nearest(values: list[Fraction], wanted: Fraction) -> int:
    at = bisect_left(values, wanted)
    if at == len(values) or (at and wanted - values[at - 1] <= values[at] - wanted):
        return at - 1
    return at


def _damaged_packets(source: Path, record: RestoreData) -> list[int]:
    """The numbers of the sent frames whose packets are not what was written."""
    sent = [k for k, here in enumerate(record.sent) if here]
    found: dict[int, int] = {}
    try:
        with av.open(str(source), metadata_errors="replace") as container:
            video = container.streams.video[0]
            base = video.time_base or Fraction(1, 1000)
            for packet in container.demux(video):
                if packet.pts is not None and packet.size:
                    found[round(packet.pts * base * 1000)] = zlib.crc32(bytes(packet))
    except av.error.FFmpegError:
        pass  # what was read so far is compared
    damaged = []
    for number, expected in zip(sent, record.packets, strict=True):
        stands = 1000 * (record.start + record.time(number))
        near = [found.get(k) for k in range(int(stands) - 1, int(stands) + 3)]
        if expected not in near:
            damaged.append(number)
    return damaged
