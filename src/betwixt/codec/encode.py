"""`betwixt encode`: some frames through a base encoder, the others left to synthesis, or coded by a network.

    source ── survey ──► times, shots ──► layout: what is sent
        │                                    │
        └──► base encoder ◄──────────────────┤
                 │                           │ a frame fails the floor: send it, and encode anew
                 └──► decoded ──► synthesis ─┴──► PSNR of every B frame, its bits (bit-need)
        all streams + base stream + record (an attachment) ──► OUT.mkv

What is measured is what a decoder will make: frames are synthesized from the decoded base stream, not from the source.
Sending one more frame changes its neighbours a little, so the round is repeated until every B frame that is not sent
passes. Rounds only ever add frames, so they end. Where an interval holds several B frames and one fails, the middle one
is sent first: the halves may then be good enough.

Reference: Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, section 5 and
appendix C.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.video.frame import PictureType

from betwixt.codec.base_codec import ORDERS, base_encoder_options, find_base_codec
from betwixt.codec.distortion import mean_squared_error, psnr_from_mse
from betwixt.codec.gop import Interval, frame_types, intervals, kept_frames
from betwixt.codec.pairs import PairChain, map_in_order, single_threaded_kernels
from betwixt.codec.restore_data import CodedFrame, RestoreData, pack
from betwixt.errors import InputError, OutputError, UsageError
from betwixt.files import check_output, write_error
from betwixt.machine import available_cores
from betwixt.media.attachments import add_attachment
from betwixt.media.cut_list import CutList, read_cuts
from betwixt.media.reader import Frame, Reader, StreamPacket
from betwixt.media.scenes import CutDetector, make_thumbnail
from betwixt.media.source import VideoSource, open_source
from betwixt.media.timeline import TimeMap, parse_rate
from betwixt.media.writer import VideoWriter
from betwixt.models.base import Interpolator
from betwixt.models.registry import DEFAULT_MODEL
from betwixt.runtime.load import hash_weights, load_model, suggest_packages
from betwixt.runtime.synthesis import PairSynthesis, SourceFrame
from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder

__all__ = ["ATTACHMENT", "MODES", "TAG", "Encoded", "checksum", "encode_video"]

ATTACHMENT = "betwixt-restore.bin"
"""The name of the record among the attachments."""

TAG = "BETWIXT"
"""The tag that tells a person what the file is."""

MODES = ("bit-free", "bit-need", "base")
"""How B frames are coded; "base" leaves all of them to the base encoder, in the same order, for comparison."""

KEEPS = (2, 4, 8)

_FIRM = 6
"""From this round on, a frame that fails its floor takes all of its interval with it."""


@dataclass
class Encoded:
    """What an encoding did.

    Attributes:
        output: The file.
        mode: "bit-free", "bit-need" or "base".
        model: The model that synthesizes.
        frames: Frames of the source.
        sent: Frames that the base encoder carries.
        coded: B frames that a network codes.
        synthesized: B frames that cost nothing.
        below: How many of the B frames that are sent are sent for the floor.
        rounds: How often the base encoder went over the source.
        size: Bytes of the file.
        base_size: Bytes of the base stream's packets.
        record_size: Bytes of the restore data, the network's bits included.
        psnr: Mean PSNR of the B frames that are not sent, in dB over all planes; None where it was not measured.
        worst: The lowest of them.
        seconds: How long it took,
        base_seconds: of which in the base encoder's last round.
        lost: What Matroska could not hold.
        notes: What a person should know.
    """

    output: str
    mode: str
    model: str
    frames: int
    sent: int
    coded: int
    synthesized: int
    below: int
    rounds: int
    size: int
    base_size: int
    record_size: int
    psnr: float | None
    worst: float | None
    seconds: float
    base_seconds: float
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Survey:
    """What one look over the source tells: times in ticks, and shots."""

    rate: Fraction
    variable: bool
    tick: Fraction
    ticks: tuple[int, ...]
    last: int
    shots: tuple[int, ...]
    start: Fraction


@dataclass
class _Verdict:
    """What a round found of one B frame."""

    number: int
    error: float
    around: float
    coded: CodedFrame | None


def encode_video(
    source: str | Path,
    target: str | Path,
    *,
    mode: str = "bit-free",
    base: str = "x265",
    preset: str | None = None,
    quality: str | int | None = None,
    keep: int = 2,
    order: str = "ip",
    intra: int = 240,
    floor: float | None = None,
    model: str | Interpolator = DEFAULT_MODEL,
    weights: str | Path | None = None,
    codec_weights: str | Path | None = None,
    step: float | None = None,
    scene_cuts: str | Path = "auto",
    pixel_format: str | None = None,
    device: str = "auto",
    threads: int = 0,
    overwrite: bool = False,
    interlaced: str = "refuse",
    input_fps: str | float | Fraction | None = None,
    measure: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Encoded:
    """Compress a video: some frames through a base encoder, the rest made from them when it is decoded.

    The output is a Matroska that any player plays at a part of the rate; `codec.decode.decode_video` restores the rest.
    Audio, subtitles, chapters, attachments and tags are copied.

    Args:
        source: A video, or a folder or pattern of images. It is read several times, so it cannot be a pipe.
        target: The .mkv file.
        mode: "bit-free": B frames cost nothing; "bit-need": a network codes them; "base": the base encoder codes all
            frames in the same order (for comparison).
        base: "x265", "x264" or "svtav1".
        preset: The base encoder's preset; None for its usual one.
        quality: A number on the base encoder's scale (crf, lower is better); None for its default.
        keep: Keep one of this many frames: 2, 4 or 8.
        order: "ip": kept frames are coded as I and P, others that are sent as B; "p": all of them as I and P; "own":
            the base encoder orders what is sent as it likes.
        intra: The distance of I frames in frames of the source; shots begin with one in any case.
        floor: In dB of PSNR over all planes: B frames that would come out worse are sent. Negative: so many dB below
            the mean of the two frames that it is made from. None sends none.
        model: The model that synthesizes, by name or loaded.
        weights: A file of its weights.
        codec_weights: A file of weights of the network that codes B frames (bit-need).
        step: The quantizer's step of that network, of samples in [0, 255]; None to follow the base stream's quality.
        scene_cuts: "auto", "off", or a file with a cut in each line.
        pixel_format: What to encode in; None for the source's, or the nearest that the encoder takes.
        device: Where the model runs.
        threads: How many to use; 0 for one a core.
        overwrite: Replace an existing output.
        interlaced: What to do with interlaced video: "refuse", "deinterlace" or "ignore".
        input_fps: The rate of a folder of images; 25 if not given.
        measure: Measure the B frames even where no floor asks for it.
        progress: Called with what is being done, how many frames are done, and of how many.

    Raises:
        UsageError: for arguments that are wrong, or a base encoder that is missing.
        InputError: if the source cannot be used, has a single frame, or is damaged.
        OutputError: if the target cannot be written.
    """
    began = time.monotonic()
    job = _Encoding(
        source, target, mode=mode, base=base, preset=preset, quality=quality, keep=keep, order=order, intra=intra,
        floor=floor, model=model, weights=weights, codec_weights=codec_weights, step=step, scene_cuts=scene_cuts,
        pixel_format=pixel_format, device=device, threads=threads, overwrite=overwrite, interlaced=interlaced,
        input_fps=input_fps, measure=measure, progress=progress,
    )  # fmt: skip
    with single_threaded_kernels():
        return job.run(began)


class _Encoding:
    """One encoding: what was asked for, checked, and the rounds."""

    def __init__(self, source: str | Path, target: str | Path, **options: Any) -> None:
        o = options
        self.source, self.target = source, Path(target)
        _one_of(o["mode"], MODES, "mode")
        _one_of(o["order"], ORDERS, "order")
        if o["keep"] not in KEEPS:
            raise UsageError(f"--keep is {o['keep']}: choose 2, 4 or 8 (one of so many frames is kept).")
        if o["intra"] < 1:
            raise UsageError(f"The distance of I frames ({o['intra']}) must be 1 or more.")
        if o["threads"] < 0:
            raise UsageError(f"The number of threads ({o['threads']}) must not be negative.")
        if o["floor"] is not None and not (math.isfinite(o["floor"]) and -60 <= o["floor"] <= 100):
            raise UsageError(f"The floor {o['floor']:g} dB is out of range: give 32, or -3 for 3 dB below the rest.")
        if o["floor"] is not None and o["mode"] == "base":
            raise UsageError("--floor is for bit-free and bit-need: with --mode base all frames are sent.")
        if o["step"] is not None and not 0 < o["step"] <= 255:
            raise UsageError(f"The step {o['step']:g} is out of range: give more than 0 and at most 255.")
        if o["step"] is not None and o["mode"] != "bit-need":
            raise UsageError("--step is for --mode bit-need: leave it out.")
        if self.target.suffix.lower() != ".mkv":
            raise UsageError(f"{target} is no .mkv: the restore data is an attachment, which Matroska holds.")
        self.base, self.preset = find_base_codec(o["base"], o["preset"])
        check_output(self.target, source, o["overwrite"])
        self.mode, self.order, self.keep, self.intra, self.floor = (
            o["mode"], o["order"], o["keep"], o["intra"], o["floor"],
        )  # fmt: skip
        self.quality = None if o["quality"] is None else str(o["quality"])
        self.pixel_format, self.interlaced = o["pixel_format"], o["interlaced"]
        self.threads = o["threads"] or available_cores()
        self.measure = o["measure"] or self.floor is not None or self.mode == "bit-need"
        self.step, self.input_fps = o["step"], None if o["input_fps"] is None else parse_rate(o["input_fps"])
        self.cuts: CutList | str = str(o["scene_cuts"])
        if self.cuts not in ("auto", "off"):
            self.cuts = read_cuts(o["scene_cuts"])
        self._progress = o["progress"]
        given = o["model"]
        self.coder: BFrameCoder | None = None
        if self.mode == "bit-need":
            from betwixt.codec.coder import load_coder

            self.coder = load_coder(o["codec_weights"])
        elif o["codec_weights"] is not None:
            raise UsageError("--codec-weights is for --mode bit-need: leave it out.")
        self.model: Interpolator | None = None
        if self.mode != "base" and isinstance(given, str):
            # Frames come out alike whatever the machine is good at, here and at the decoder.
            self.model = load_model(given, o["device"], weights=o["weights"], precision="fp32")
        elif self.mode != "base":
            self.model = given
        self.weights = hash_weights(given, o["weights"]) if isinstance(given, str) and self.mode != "base" else ""
        self.paths = "curved" if self.model is not None and self.model.uses_neighbours else "straight"
        self.notes: list[str] = (
            suggest_packages(given, o["device"]) if self.mode != "base" and isinstance(given, str) else []
        )

    # -- the whole

    def run(self, began: float) -> Encoded:
        """Encode."""
        survey = self._survey()
        kept = kept_frames(len(survey.ticks), survey.shots, self.keep)
        sent = [True] * len(kept) if self.mode == "base" else list(kept)
        with tempfile.TemporaryDirectory(prefix=f".{self.target.stem}.", dir=self.target.parent) as folder:
            base_file, whole = Path(folder) / "base.mkv", Path(folder) / "whole.mkv"
            verdicts: list[_Verdict] = []
            rounds = 0
            while True:
                rounds += 1
                mark = time.monotonic()
                writer = self._encode_base(base_file, survey, kept, sent)
                base_seconds = time.monotonic() - mark
                if not self.measure or all(sent):
                    break
                verdicts = self._judge(base_file, writer, survey, sent)
                more = self._failing(verdicts, survey, sent, rounds)
                if not more:
                    break
                for number in more:
                    sent[number] = True
            verdicts = [v for v in verdicts if not sent[v.number]]
            packets, base_size = _packet_sums(base_file)
            if len(packets) != sum(sent):
                raise OutputError(
                    f"{self.base.encoder} gave {len(packets)} packets for {sum(sent)} frames: choose another --base."
                )
            record = pack(self._record(survey, sent, packets, verdicts))
            tags = {} if self.mode == "base" else {TAG: f"{self.mode}; betwixt decode restores every frame"}
            if self.mode == "base":
                whole = base_file
            else:
                add_attachment(base_file, whole, ATTACHMENT, record, tags)
            size = whole.stat().st_size
            try:
                os.replace(whole, self.target)
            except OSError as error:
                raise write_error(error, self.target) from None
        values = [psnr_from_mse(v.error) for v in verdicts]
        coded = sum(v.coded is not None for v in verdicts)
        return Encoded(
            output=str(self.target),
            mode=self.mode,
            model=self.model.name if self.model is not None else "none",
            frames=len(sent),
            sent=sum(sent),
            coded=coded,
            synthesized=len(sent) - sum(sent) - coded,
            below=0 if self.mode == "base" else sum(sent) - sum(kept),
            rounds=rounds,
            size=size,
            base_size=base_size,
            record_size=len(record) if self.mode != "base" else 0,
            psnr=sum(values) / len(values) if values else None,
            worst=min(values, default=None),
            seconds=time.monotonic() - began,
            base_seconds=base_seconds,
            lost=writer.lost,
            notes=[*self.notes, *writer.notes],
        )

    # -- the source

    def _open(self) -> VideoSource:
        return open_source(
            self.source, input_fps=self.input_fps, interlaced=self.interlaced, threads=min(self.threads, 16)
        )

    def _survey(self) -> _Survey:
        """ReferenceFeatures over the source: the time of every frame, and the shots."""
        reader = self._open()
        times: list[Fraction] = []
        cuts: list[bool] = []
        detector = CutDetector() if self.cuts == "auto" else None
        last = Fraction(1)
        try:
            info = reader.info
            for item in reader:
                if isinstance(item, StreamPacket):
                    continue
                if detector is not None:
                    cuts += detector.push(make_thumbnail(item.video))
                else:
                    listed = isinstance(self.cuts, CutList) and bool(times)
                    cuts.append(listed and self.cuts.contains(item.index, item.time, times[-1]))  # type: ignore[union-attr]
                times.append(item.time)
                last = item.duration
                self._tell("looking over the source", len(times), info.frames)
            if reader.damage:
                raise InputError(
                    f"{reader.name} is damaged: {reader.damage}. Repair it first (ffmpeg -i IN -c copy OUT)."
                )
            self.notes += reader.notes
            stated = reader.stated_end
            start = reader.info.start - reader.earliest_start if isinstance(reader, Reader) else Fraction(0)
        finally:
            reader.close()
        if detector is not None:
            cuts += detector.flush()
        if len(times) < 2:
            raise InputError(f"{info.name} has a single frame: there is nothing between frames to leave out.")
        if stated is not None and times[-1] < stated < times[-1] + last + 1:
            last = stated - times[-1]
        tick = 1 / info.rate
        variable = info.variable or any(((t - times[0]) / tick).denominator > 1 for t in times)
        if variable:
            tick = Fraction(1, math.lcm(*((t - times[0]).denominator for t in times), last.denominator))
            if tick.denominator >= 1 << 31:
                raise InputError(f"{info.name} has times too fine to be kept: bring it to a constant rate first.")
        ticks = tuple(int((t - times[0]) / tick) for t in times)
        closest = min(b - a for a, b in itertools.pairwise(ticks)) * tick
        if closest < Fraction(2, 1000):
            raise InputError(
                f"{info.name} has frames {float(1000 * closest):.2g} ms apart, and Matroska counts whole milliseconds: "
                "slow it down or thin it out first."
            )
        shots = (0, *(number for number, cut in enumerate(cuts) if cut and number))
        start = start if start >= Fraction(1, 1000) else Fraction(0)
        return _Survey(info.rate, variable, tick, ticks, max(1, round(last / tick)), shots, start)

    # -- the base stream

    def _encode_base(self, path: Path, survey: _Survey, kept: Sequence[bool], sent: Sequence[bool]) -> VideoWriter:
        """Encode what is sent, and copy all other streams, into `path`."""
        # In the order "p", what is sent beside the kept frames is as they are.
        types = frame_types(sent if self.order == "p" else kept, sent, survey.shots, self.intra)
        between = run = 0
        for kind in types:
            run = run + 1 if kind == PictureType.B else 0 if kind != PictureType.NONE else run
            between = max(between, run)
        full = self.mode == "base" or 2 * sum(sent) > len(sent) + len(sent) // self.keep
        rate = survey.rate if full else survey.rate / self.keep
        intra = max(1, self.intra if full else self.intra // self.keep)
        chosen = self.order != "own" and self.base.types
        # H.264 states its time base as its rate: it is no finer than what is sent asks for.
        unit = math.gcd(*(t for t, here in zip(survey.ticks, sent, strict=True) if here))
        reader = self._open()
        try:
            writer = VideoWriter(
                path,
                reader.info,
                rate,
                start=survey.start,
                codec=self.base.encoder,
                quality=self.quality,
                pixel_format=self.pixel_format,
                threads=self.threads,
                tick=survey.tick * unit,
                options=base_encoder_options(self.base, self.preset, self.order, between, intra),
            )
            with writer:
                if isinstance(reader, Reader):
                    writer.copy_streams(reader.container, reader.stream, TimeMap(reader.earliest_start))
                number = 0
                for item in reader:
                    if isinstance(item, StreamPacket):
                        writer.copy(item)
                        continue
                    if number < len(sent) and sent[number]:
                        kind = types[number] if chosen or types[number] == PictureType.I else PictureType.NONE
                        last = number + 1 == len(sent)
                        length = -(-survey.last // unit) if last else None
                        writer.write(item.video, survey.ticks[number] // unit, kind, length)
                    number += 1
                    self._tell("encoding", number, len(sent))
                writer.commit()
        finally:
            reader.close()
        if number != len(sent):
            raise InputError(f"{reader.name} changed while it was read: {len(sent)} frames first, now {number}.")
        return writer

    # -- what a decoder will make

    def _judge(self, path: Path, writer: VideoWriter, survey: _Survey, sent: Sequence[bool]) -> list[_Verdict]:
        """Make every B frame that is not sent from the decoded base stream, and compare it with the true one."""
        verdicts: list[_Verdict] = []
        with Reader(path, interlaced="ignore", threads=min(self.threads, 16)) as decoded:
            source, info = self._open(), decoded.info
            try:
                assert self.model is not None
                chain = PairChain(self.model, decoded.info.colour, survey.ticks, self.paths == "curved")
                maker = _Maker(self, chain, survey, 8 * _packet_sums(path)[1] / (info.width * info.height * len(sent)))
                pairs = self._pairs(decoded, source, writer, survey, sent, chain)
                for found in map_in_order(pairs, maker.judge, self.threads):
                    verdicts += found
                    self._tell("making B frames", len(verdicts), len(sent) - sum(sent))
            finally:
                source.close()
        return verdicts

    def _pairs(
        self,
        decoded: Reader,
        source: VideoSource,
        writer: VideoWriter,
        survey: _Survey,
        sent: Sequence[bool],
        chain: PairChain,
    ) -> Iterator[_Pair]:
        """The intervals that have frames in them, with the true ones at and between their ends."""
        stream = (item for item in decoded if isinstance(item, Frame))
        truths = (item for item in source if isinstance(item, Frame))
        waiting = {i.left: i for i in intervals(sent, survey.shots)}
        begins = set(survey.shots)
        number = -1
        held: dict[int, av.VideoFrame] = {}
        open_interval: Interval | None = None
        ready: _Pair | None = None  # until the interval after it is known
        for frame in truths:
            number += 1
            open_after = waiting.get(number)
            if open_interval is not None or open_after is not None:
                held[number] = writer.to_output_format(frame.video)
            if not sent[number]:
                continue
            here = next(stream, None)
            if here is None:
                raise OutputError(f"{self.base.encoder} left frames out: choose another --base or --preset.")
            work = chain.add(number, here.video, number in begins)
            if ready is not None:
                yield ready
                ready = None
            if open_interval is not None and open_interval.right == number and work is not None:
                ready = _Pair(open_interval, work, dict(held))
                held = {number: held[number]}
            open_interval = open_after
            if open_after is None:
                held = {}
        if ready is not None:
            yield ready

    def _failing(self, verdicts: list[_Verdict], survey: _Survey, sent: Sequence[bool], rounds: int) -> list[int]:
        """The B frames to send as well, after a round."""
        if self.floor is None:
            return []
        by_number = {v.number: v for v in verdicts}
        more: list[int] = []
        for interval in intervals(sent, survey.shots):
            good = []
            for number in interval.between:
                verdict = by_number[number]
                least = self.floor if self.floor >= 0 else psnr_from_mse(verdict.around) + self.floor
                good.append(psnr_from_mse(verdict.error) >= least)
            if not all(good):
                more += list(interval.between) if rounds >= _FIRM else [interval.middle]
        return more

    def _record(
        self, survey: _Survey, sent: Sequence[bool], packets: Sequence[int], verdicts: Sequence[_Verdict]
    ) -> RestoreData:
        return RestoreData(
            mode=self.mode if self.mode != "base" else "bit-free",
            model=self.model.name if self.model is not None else "none",
            weights=self.weights,
            paths=self.paths,
            writer=__version__,
            base=self.base.name,
            rate=survey.rate,
            variable=survey.variable,
            tick=survey.tick,
            ticks=survey.ticks,
            last=survey.last,
            shots=survey.shots,
            start=survey.start,
            sent=tuple(sent),
            packets=tuple(packets),
            coded={v.number: v.coded for v in verdicts if v.coded is not None},
            codec_weights=self.coder.weights if self.coder is not None else "",
        )

    def _tell(self, what: str, done: int, total: int | None) -> None:
        if self._progress is not None:
            self._progress(what, done, total)


@dataclass(frozen=True)
class _Pair:
    """An interval of two decoded frames, and the true frames by number, both ends included."""

    interval: Interval
    work: PairSynthesis
    truths: dict[int, av.VideoFrame]


class _Maker:
    """Makes the B frames of an interval and compares them with the true ones."""

    def __init__(self, job: _Encoding, chain: PairChain, survey: _Survey, rate: float) -> None:
        self._job, self._chain, self._survey, self._rate = job, chain, survey, rate

    def judge(self, pair: _Pair) -> list[_Verdict]:
        """What becomes of each frame between."""
        ticks, interval = self._survey.ticks, pair.interval
        first, second = pair.work.sources
        span = ticks[interval.right] - ticks[interval.left]
        times = [Fraction(ticks[k] - ticks[interval.left], span) for k in interval.between]
        made = pair.work.synthesize(times)
        ends = [mean_squared_error(first.video, pair.truths[interval.left])]
        ends.append(mean_squared_error(second.video, pair.truths[interval.right]))
        around = sum(ends) / 2
        verdicts = []
        for number, t, frame in zip(interval.between, times, made, strict=True):
            truth = pair.truths[number]
            verdict = _Verdict(number, mean_squared_error(frame, truth), around, None)
            if self._job.coder is not None:
                self._code(verdict, first, second, truth, t, frame)
            verdicts.append(verdict)
        return verdicts

    def _code(
        self,
        verdict: _Verdict,
        first: SourceFrame,
        second: SourceFrame,
        truth: av.VideoFrame,
        t: Fraction,
        made: av.VideoFrame,
    ) -> None:
        """Let the network code the frame, where that is worth its bits."""
        coder = self._job.coder
        assert coder is not None
        if self._job.step is not None:
            step = self._job.step / 255
            worth = coder.worth_at(step)
        else:
            worth = coder.worth_of(self._rate, verdict.around)
            step = coder.step_for(worth)
        payload, frame = coder.encode(first, second, self._chain.source(truth), t, step, worth)
        error = mean_squared_error(frame, truth)
        pixels = truth.width * truth.height
        # Bits that bring less than they would elsewhere are not spent: the synthesized frame stands.
        if (verdict.error - error) * worth * pixels <= 8 * len(payload):
            return
        verdict.error, verdict.coded = error, CodedFrame(payload, checksum(frame))


def checksum(frame: av.VideoFrame) -> int:
    """CRC-32 of a frame's samples, plane by plane."""
    from betwixt.media.frames import planes

    value = 0
    for plane in planes(frame):
        value = zlib.crc32(plane.tobytes(), value)
    return value


def _packet_sums(path: Path) -> tuple[list[int], int]:
    """CRC-32 of each packet of the base stream in the order of frames, and the bytes of all."""
    found: list[tuple[int, int]] = []
    size = 0
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        for packet in container.demux(video):
            if packet.pts is not None and packet.size:
                found.append((packet.pts, zlib.crc32(bytes(packet))))
                size += packet.size
    return [crc for _, crc in sorted(found)], size


def _one_of(value: str, choices: Sequence[str], what: str) -> None:
    if value not in choices:
        raise UsageError(f"--{what} is '{value}': choose {', '.join(choices[:-1])} or {choices[-1]}.")
