"""`betwixt encode`: some frames go through a base encoder, the others are synthesized, or coded by a network.

    source ── survey ──► times, shots ──► kept frames ──► sent frames
        │                                                  │    ▲
        ├──► base encoder ◄────────────────────────────────┘    │ B frames below the floor are sent, too: next round
        │        │                                              │
        └────────┴──► decoded ──► B frames, made and measured ──┘
                 │                    │
                 └─ base stream ──────┴─ restore data (an attachment) ──► OUT.mkv

Sending one more frame changes its neighbours a little, so rounds are repeated until every B frame that is not sent
reaches the floor. Rounds only add frames, so they end. Where an interval has several B frames and one is below the
floor, the middle one is sent first: the halves may then be good enough.

Reference: Jia et al., Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, section 5 and
appendix C.
"""

from __future__ import annotations

import functools
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betwixt.codec.b_frames import BFrameMaker, BFrameResult
from betwixt.codec.base_codec import ORDERS, find_base_codec
from betwixt.codec.base_stream import BaseStreamEncoder, packet_checksums
from betwixt.codec.distortion import psnr_from_mse
from betwixt.codec.external_codec import ExternalBaseStream, ExternalCodec
from betwixt.codec.gop import intervals, kept_frames
from betwixt.codec.pairs import single_threaded_kernels
from betwixt.codec.restore_data import ATTACHMENT, TAG, RestoreData, pack
from betwixt.codec.survey import ReopenableSource, Survey, survey_source
from betwixt.errors import OutputError, UsageError
from betwixt.files import check_output, write_error
from betwixt.machine import available_cores, require_torch
from betwixt.media.attachments import add_attachment
from betwixt.media.cut_list import read_cuts
from betwixt.media.timeline import parse_rate
from betwixt.media.writer import VideoWriter
from betwixt.models.base import Interpolator
from betwixt.models.registry import DEFAULT_MODEL
from betwixt.runtime.load import hash_weights, load_model
from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder

MODES = ("bit-free", "bit-need", "base")
"""How B frames are coded; "base" leaves all of them to the base encoder, in the same order, for comparison."""

KEEPS = (2, 4, 8)

_WHOLE_INTERVAL_ROUND = 6
"""From this round on, a frame below the floor makes its whole interval be sent."""

Progress = Callable[[str, int, int | None], None]


@dataclass
class Encoded:
    """The summary of an encoding."""

    output: str  # the file
    mode: str  # "bit-free", "bit-need" or "base"
    model: str
    frames: int  # frames of the source
    sent: int  # frames that the base encoder carries
    coded: int  # B frames that the network codes
    synthesized: int  # B frames that cost nothing
    below: int  # B frames that are sent because they are below the floor
    rounds: int  # how often the base encoder went over the source
    size: int  # size of the file, in bytes
    base_size: int  # size of the base stream's packets, in bytes
    record_size: int  # size of the restore data, in bytes, the network's bits included
    psnr: float | None  # mean PSNR of the B frames that are not sent, in dB, all planes; None if not measured
    worst: float | None  # the lowest PSNR of these
    seconds: float  # how long the encoding took
    base_seconds: float  # how long the base encoder took in the last round
    lost: list[str] = field(default_factory=list)  # what Matroska cannot hold of the source
    notes: list[str] = field(default_factory=list)  # notices for the user

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def encode_video(
    source: str | Path,
    target: str | Path,
    *,
    mode: str = "bit-free",
    base: str | ExternalCodec = "x265",
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
    stream: int | None = None,
    interlaced: str = "refuse",
    input_fps: str | float | Fraction | None = None,
    measure: bool = False,
    progress: Progress | None = None,
) -> Encoded:
    """Compress a video: some frames go through a base encoder, the rest is made from them by the decoder.

    The output is a Matroska that any player plays at a part of the rate; `codec.decode.decode_video` restores the rest.
    Audio, subtitles, chapters, attachments and tags are copied.

    Args:
        source: A video, or a folder or pattern of images. It is read several times, so it cannot be a pipe.
        target: The .mkv file.
        mode: "bit-free": B frames cost nothing; "bit-need": a network codes them; "base": the base encoder codes all
            frames in the same order (for comparison).
        base: "x265", "x264" or "svtav1". An `ExternalCodec` is for measurements: the file then holds its frames
            losslessly, and the sizes of the result count its bitstream in their place.
        preset: The base encoder's preset; None for its default.
        quality: A number on the base encoder's scale (crf, lower is better); None for its default.
        keep: Keep one of this many frames: 2, 4 or 8.
        order: "ip": kept frames are coded as I and P, other sent frames as B; "p": all of them as I and P; "own": the
            base encoder chooses.
        intra: The distance of I frames in frames of the source; shots begin with one in any case.
        floor: In dB of PSNR over all planes: B frames that would come out worse are sent. Negative: relative to the
            mean of the two frames that it is made from. None sends none.
        model: The model that synthesizes, by name or loaded.
        weights: A file of its weights.
        codec_weights: A weights file of the network that codes B frames (bit-need).
        step: The quantizer's step of that network, of samples in [0, 255]; None to follow the base stream's quality.
        scene_cuts: "auto", "off", or a file with a cut in each line.
        pixel_format: The pixel format to encode; None for the source's, or the nearest that the encoder takes.
        device: Where the model runs.
        threads: The number of threads; 0 for one for each core.
        overwrite: Replace an existing output.
        stream: The number of the video stream to encode; None for the default one. The others are copied.
        interlaced: How to treat interlaced video: "refuse", "deinterlace" or "ignore".
        input_fps: The rate of a folder of images; 25 if not given.
        measure: Measure the B frames even if there is no floor.
        progress: Called with the current stage and the numbers of frames done and in total; None if unknown.

    Raises:
        UsageError: for arguments that are wrong, or a base encoder that is missing.
        InputError: if the source cannot be used, has a single frame, or is damaged.
        OutputError: if the target cannot be written.
    """
    began = time.monotonic()
    target = Path(target)
    _check_arguments(mode, order, keep, intra, threads, floor, step, codec_weights)
    if target.suffix.lower() != ".mkv":
        raise UsageError(f"{target} is no .mkv: the restore data is an attachment, which Matroska holds.")
    stream_encoder = _base_stream(base, preset, quality, order, keep, intra, pixel_format, threads)
    check_output(target, source, overwrite)
    threads = threads or available_cores()
    rate = None if input_fps is None else parse_rate(input_fps)
    cuts = scene_cuts if scene_cuts in ("auto", "off") else read_cuts(scene_cuts)
    maker, weights_hash = _load_maker(mode, model, weights, codec_weights, device, step, threads)
    encoding = _Encoding(
        target=target,
        mode=mode,
        source=ReopenableSource(source, rate, stream, interlaced, threads),
        base=stream_encoder,
        b_frames=maker,
        weights_hash=weights_hash,
        floor=floor,
        measure=measure or floor is not None or mode == "bit-need",
        progress=progress or (lambda stage, done, total: None),
    )
    with single_threaded_kernels():
        survey = survey_source(encoding.source, cuts, functools.partial(encoding.progress, "analysing the source"))
        summary = encoding.run(survey)
    summary.notes = [*survey.notes, *summary.notes]
    summary.seconds = time.monotonic() - began
    return summary


def _check_arguments(
    mode: str,
    order: str,
    keep: int,
    intra: int,
    threads: int,
    floor: float | None,
    step: float | None,
    codec_weights: str | Path | None,
) -> None:
    for name, value, choices in (("mode", mode, MODES), ("order", order, ORDERS)):
        if value not in choices:
            raise UsageError(f"`{name}` is '{value}': choose {', '.join(choices[:-1])} or {choices[-1]}.")
    if keep not in KEEPS:
        raise UsageError(f"`keep` is {keep}: choose 2, 4 or 8 (one of this many frames is kept).")
    if intra < 1:
        raise UsageError(f"The distance of I frames ({intra}) must be 1 or more.")
    if threads < 0:
        raise UsageError(f"The number of threads ({threads}) must not be negative.")
    if floor is not None and not (math.isfinite(floor) and -60 <= floor <= 100):
        raise UsageError(f"The floor {floor:g} dB is out of range: pass 32, or -3 for 3 dB below the sent frames.")
    if floor is not None and mode == "base":
        raise UsageError("`floor` is for bit-free and bit-need: with `mode=base` all frames are sent.")
    if step is not None and not 0 < step <= 255:
        raise UsageError(f"The step {step:g} is out of range: pass more than 0 and at most 255.")
    if step is not None and mode != "bit-need":
        raise UsageError("`step` is for `mode=bit-need`: leave it out.")
    if codec_weights is not None and mode != "bit-need":
        raise UsageError("`codec_weights` is for `mode=bit-need`: leave it out.")


def _base_stream(
    base: str | ExternalCodec,
    preset: str | None,
    quality: str | int | None,
    order: str,
    keep: int,
    intra: int,
    pixel_format: str | None,
    threads: int,
) -> BaseStreamEncoder | ExternalBaseStream:
    if isinstance(base, ExternalCodec):
        if quality is None:
            raise UsageError(f"{base.name} has no default quality: pass `quality`.")
        return ExternalBaseStream(base, str(quality), keep, intra)
    codec, chosen_preset = find_base_codec(base, preset)
    quality = None if quality is None else str(quality)
    return BaseStreamEncoder(codec, chosen_preset, quality, order, keep, intra, pixel_format, threads)


def _load_maker(
    mode: str,
    model: str | Interpolator,
    weights: str | Path | None,
    codec_weights: str | Path | None,
    device: str,
    step: float | None,
    threads: int,
) -> tuple[BFrameMaker | None, str]:
    """What makes the B frames (None in the mode "base"), and the hash of its model's weights."""
    if mode == "base":
        return None, ""
    coder: BFrameCoder | None = None
    if mode == "bit-need":
        require_torch("The mode bit-need")
        from betwixt.codec.coder import load_coder

        coder = load_coder(codec_weights)
    if isinstance(model, Interpolator):
        return BFrameMaker(model, coder, step, threads), ""
    # fp32 gives the same frames here and at the decoder, whatever the machines support.
    loaded = load_model(model, device, weights=weights, precision="fp32")
    return BFrameMaker(loaded, coder, step, threads), hash_weights(model, weights)


@dataclass(frozen=True)
class _Encoding:
    """One encoding, with its arguments checked and its networks loaded."""

    target: Path
    mode: str
    source: ReopenableSource
    base: BaseStreamEncoder | ExternalBaseStream
    b_frames: BFrameMaker | None
    weights_hash: str
    floor: float | None
    measure: bool
    progress: Progress

    def run(self, survey: Survey) -> Encoded:
        """Encode all rounds, and put the output in its place."""
        kept = kept_frames(len(survey.ticks), survey.shots, self.base.keep)
        sent = [True] * len(kept) if self.mode == "base" else list(kept)
        with tempfile.TemporaryDirectory(prefix=f".{self.target.stem}.", dir=self.target.parent) as folder:
            output = base_file = Path(folder) / "base.mkv"
            writer, results, rounds, base_seconds = self._run_rounds(base_file, survey, kept, sent)
            packets, base_size = self._measure_base(base_file)
            if len(packets) != sum(sent):
                name = self.base.codec.encoder
                raise OutputError(f"{name} gave {len(packets)} packets for {sum(sent)} frames: pass another `base`.")
            restore_data = b""
            if self.b_frames is not None:
                output = Path(folder) / "output.mkv"
                restore_data = pack(self._restore_data(self.b_frames, survey, sent, packets, results))
                tags = {TAG: f"{self.mode}; betwixt decode restores every frame"}
                add_attachment(base_file, output, ATTACHMENT, restore_data, tags)
            size = output.stat().st_size
            if isinstance(self.base, ExternalBaseStream):
                size = base_size + len(restore_data)
            try:
                os.replace(output, self.target)
            except OSError as error:
                raise write_error(error, self.target) from None
        quality = [psnr_from_mse(result.error) for result in results]
        coded = sum(result.coded is not None for result in results)
        return Encoded(
            output=str(self.target),
            mode=self.mode,
            model=self.b_frames.model.name if self.b_frames is not None else "none",
            frames=len(sent),
            sent=sum(sent),
            coded=coded,
            synthesized=len(sent) - sum(sent) - coded,
            below=0 if self.mode == "base" else sum(sent) - sum(kept),
            rounds=rounds,
            size=size,
            base_size=base_size,
            record_size=len(restore_data),
            psnr=sum(quality) / len(quality) if quality else None,
            worst=min(quality, default=None),
            seconds=0.0,
            base_seconds=base_seconds,
            lost=writer.lost,
            notes=writer.notes,
        )

    def _run_rounds(
        self, base_file: Path, survey: Survey, kept: list[bool], sent: list[bool]
    ) -> tuple[VideoWriter, list[BFrameResult], int, float]:
        """Encode the base stream until every B frame that is not sent reaches the floor; `sent` is updated.

        Returns the writer of the base stream, the B frames that are not sent (if they are measured), the number of
        rounds, and the seconds of the last round's encoding.
        """
        encoding, making = (functools.partial(self.progress, stage) for stage in ("encoding", "making B frames"))
        rounds = 0
        while True:
            rounds += 1
            began = time.monotonic()
            writer = self.base.encode(base_file, self.source, survey, kept, sent, encoding)
            base_seconds = time.monotonic() - began
            if self.b_frames is None or not self.measure or all(sent):
                return writer, [], rounds, base_seconds
            base_size = self._measure_base(base_file)[1]
            results = self.b_frames.make(self.source, survey, base_file, base_size, writer, sent, making)
            below = self._below_floor(results, survey, sent, rounds)
            if not below:
                return writer, results, rounds, base_seconds
            for number in below:
                sent[number] = True

    def _measure_base(self, base_file: Path) -> tuple[list[int], int]:
        """The checksums of the base stream's packets, and its size in bytes."""
        packets, size = packet_checksums(base_file)
        return packets, self.base.size if isinstance(self.base, ExternalBaseStream) else size

    def _below_floor(self, results: list[BFrameResult], survey: Survey, sent: Sequence[bool], rounds: int) -> list[int]:
        """The B frames to send in the next round."""
        if self.floor is None:
            return []
        by_number = {result.number: result for result in results}
        numbers: list[int] = []
        for interval in intervals(sent, survey.shots):
            for result in (by_number[number] for number in interval.between):
                floor = self.floor if self.floor >= 0 else psnr_from_mse(result.sent_error) + self.floor
                if not psnr_from_mse(result.error) >= floor:
                    numbers += list(interval.between) if rounds >= _WHOLE_INTERVAL_ROUND else [interval.middle]
                    break
        return numbers

    def _restore_data(
        self,
        maker: BFrameMaker,
        survey: Survey,
        sent: Sequence[bool],
        packets: Sequence[int],
        results: Sequence[BFrameResult],
    ) -> RestoreData:
        return RestoreData(
            mode=self.mode,
            model=maker.model.name,
            weights=self.weights_hash,
            paths="curved" if maker.model.uses_neighbours else "straight",
            writer=__version__,
            base=self.base.codec.name,
            rate=survey.rate,
            variable=survey.variable,
            tick=survey.tick,
            ticks=survey.ticks,
            last=survey.last,
            shots=survey.shots,
            start=survey.start,
            sent=tuple(sent),
            packets=tuple(packets),
            coded={result.number: result.coded for result in results if result.coded is not None},
            codec_weights=maker.coder.weights if maker.coder is not None else "",
        )
