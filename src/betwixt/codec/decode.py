"""`betwixt decode`: every frame of the video again, at its exact time.

    IN.mkv ── restore data ──► times, mask, bits of B frames
       │                          │
       └─ base stream ── decode ──┴──► sent frames as they are, B frames synthesized or decoded ──► OUT

Damage does not stop it where something can be made of the rest (`betwixt.codec.restore`). All damage is reported, and
the command then ends with exit code 3, as for any damaged input.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error

from betwixt.codec.restore import RestoreDirector, RestoreJob, load_coder_once
from betwixt.codec.restore_data import ATTACHMENT, TAG, RestoreData, unpack
from betwixt.errors import DamagedInputError, InputError, UsageError
from betwixt.files import check_output, file_url, files_fingerprint
from betwixt.machine import available_cores, require_torch
from betwixt.media.attachments import read_attachment
from betwixt.media.codecs import container_of
from betwixt.media.encoder_options import EncoderSettings
from betwixt.media.encoding import resolve_encoding
from betwixt.media.journal import Journal, abort_output
from betwixt.media.reader import Reader, StreamPacket
from betwixt.media.timeline import TimeMap
from betwixt.media.writer import VideoWriter, can_keep_journal
from betwixt.models.base import Interpolator
from betwixt.models.registry import MODELS, choose_model
from betwixt.pipeline.options import INTERPOLATE
from betwixt.pipeline.planner import Rates
from betwixt.pipeline.production import Cluster, MadeFrame, NodeFigures, Production, check_cluster, run_production
from betwixt.runtime.load import hash_weights, load_model
from betwixt.signals import defer_signals
from betwixt.version import __version__

if TYPE_CHECKING:
    from betwixt.codec.coder import BFrameCoder

Progress = Callable[[str, int, int | None], None]


@dataclass
class Decoded:
    """The summary of a decoding."""

    output: str  # the file
    mode: str  # the mode of the encoding
    model: str  # the model that synthesized
    frames: int = 0  # frames written
    sent: int = 0  # frames of the base stream among them
    coded: int = 0  # B frames decoded by the network
    synthesized: int = 0  # B frames synthesized
    concealed: int = 0  # frames made from others because they are damaged
    differing: int = 0  # B frames whose checksum is not the encoder's
    earlier: int = 0  # frames that an earlier, interrupted run had encoded
    rate: Fraction = Fraction(0)  # frames per second
    duration: Fraction = Fraction(0)  # in seconds
    seconds: float = 0.0  # how long the decoding took
    encoder: str = ""  # the encoder of the output
    lost: list[str] = field(default_factory=list)  # what the output's container cannot hold
    notes: list[str] = field(default_factory=list)  # notices for the user
    damage: str | None = None  # what is wrong with the input; None if nothing is
    nodes: list[NodeFigures] = field(default_factory=list)  # what each machine of a cluster has done

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self) | {"rate": str(self.rate), "duration": float(self.duration)}

    def count(self, kind: str) -> None:
        """Count a frame of this kind, as in `RestoreDirector`."""
        self.frames += 1
        self.sent += kind == "sent"
        self.coded += kind in ("coded", "differing")
        self.differing += kind == "differing"
        self.synthesized += kind == "synthesized"
        self.concealed += kind in ("held", "concealed")


def read_restore_data(reader: Reader) -> tuple[RestoreData, list[int]]:
    """The restore data of an encoded file, and the numbers of the B frames whose bits are damaged.

    Raises:
        InputError: if the file has none, it is damaged, or of another version.
    """
    content = read_attachment(reader.container, ATTACHMENT)
    if content is None:
        is_tagged = any(key.upper() == TAG for key in reader.info.metadata)
        raise InputError(
            f"{reader.name} has lost its restore data ({ATTACHMENT}): copy the file again, or play it as it is."
            if is_tagged
            else f"{reader.name} was not made by betwixt encode: it plays as it is, or see betwixt interpolate."
        )
    return unpack(content, reader.name)


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
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Restore every frame of a video that `encode_video` made.

    Args:
        source: The .mkv file.
        target: The video file; the suffix chooses the container.
        model: The model that synthesizes, by name or loaded; None for the one it was encoded with.
        weights: A file of its weights.
        codec_weights: The weights file of the network that coded B frames (bit-need).
        codec: The output's codec, as in `interpolate_video`.
        quality: On the encoder's own scale, or "lossless".
        pixel_format: The pixel format to encode.
        device: Where the model runs.
        threads: The number of threads; 0 for one for each core.
        overwrite: Replace an existing output.
        journal: Keep a journal, from which the same call continues after an interruption.
        cluster: Make the frames on the machines of a Ray cluster (`betwixt.Cluster`).
        progress: Called with the current stage and the numbers of frames done and in total.

    Raises:
        UsageError: for arguments that are wrong.
        InputError: if the file was not made by `encode_video`, its restore data is damaged or of another version.
        OutputError: if the target cannot be written.
        DamagedInputError: if frames are damaged; what could be restored has been written. `summary` has the details.
    """
    began = time.monotonic()
    if threads < 0:
        raise UsageError(f"The number of threads ({threads}) must not be negative.")
    check_cluster(cluster)
    workers = threads or available_cores()
    target = Path(target)
    check_output(target, source, overwrite)
    with Reader(source, interlaced="ignore", threads=min(workers, 16)) as reader:
        data, damaged = read_restore_data(reader)
        coder = _load_coder(reader, data, codec_weights)
        rate = data.rate if not data.variable else len(data.ticks) / data.duration
        synthesizer, weights_hash, notes = _load_model(reader, data, model, weights, device)
        settings: dict[str, Any] | None = None
        if journal and weights_hash is not None:
            settings = {
                "source": files_fingerprint([Path(source)]),
                "model": synthesizer.name,
                "weights": weights_hash,
                "codec-weights": None if coder is None else coder.weights,
                "arithmetic": synthesizer.arithmetic,
            }
        summary = Decoded(str(target), data.mode, synthesizer.name)
        summary.rate = rate
        summary.duration = data.duration
        encoder = EncoderSettings(
            codec, None if quality is None else str(quality), pixel_format=pixel_format, threads=threads
        )
        writer: VideoWriter | None = None
        try:
            with defer_signals():
                writer, kept = _open_output(reader, data, target, summary.rate, encoder, settings, overwrite)
            noted = {} if kept is None else {r: set(kept.noted_frames(r)) for r in ("differing", "undecodable")}
            options = INTERPOLATE.resolve({"weights": weights, "device": device, "interlaced": "ignore"})
            options |= {"model": synthesizer.name, "overlays": "off", "loop": False}
            job: Any = RestoreJob(
                source=str(source),
                reader=reader,
                data=data,
                damaged=damaged,
                model=synthesizer,
                weights_hash=weights_hash,
                options=options,
                codec_weights=None if codec_weights is None else str(Path(codec_weights).absolute()),
                rates=Rates(rate, rate, Fraction(1)),
                threads=workers,
                noted=noted,
            )
            produce = Production if cluster is None else cluster.produce
            production = produce(job, RestoreDirector, writer.resumed_frames)
            writer.copy_streams(reader, TimeMap(), without=(ATTACHMENT, TAG))
            _write(production, writer, kept, data, summary, progress)
            writer.commit()
            summary.nodes = list(production.nodes())
        except BaseException as error:
            if writer is not None and (reported := abort_output(writer.abort, error)) is not error:
                raise reported from None
            raise
        summary.damage = _describe_damage(reader, data, _damaged_packets(Path(source), data), summary)
        notes += reader.notes
    if summary.earlier:
        notes.insert(0, f"{summary.earlier} frames are those of an earlier run that was interrupted.")
    summary.lost, summary.notes = writer.lost, [*notes, *writer.notes]
    summary.seconds, summary.encoder = time.monotonic() - began, writer.encoder.name
    if summary.damage is not None:
        damage_error = DamagedInputError(
            f"{source} is damaged: {summary.damage}. "
            f"What could be restored was written to {target}: {summary.frames} frames."
        )
        damage_error.summary = summary
        raise damage_error
    return summary


def _load_coder(reader: Reader, data: RestoreData, codec_weights: str | Path | None) -> BFrameCoder | None:
    """The network that codes B frames; None in bit-free mode."""
    if data.mode == "bit-free":
        if codec_weights is not None:
            raise UsageError(f"{reader.name} is bit-free: leave `codec_weights` out.")
        return None
    require_torch("The mode bit-need")
    load_coder_once.cache_clear()  # the file may have changed
    coder = load_coder_once(None if codec_weights is None else str(Path(codec_weights).absolute()))
    if coder.weights != data.codec_weights:
        raise InputError(
            f"{reader.name} was coded with weights {data.codec_weights}, and those here are {coder.weights}: "
            "pass the right ones as `codec_weights`."
        )
    return coder


def _load_model(
    reader: Reader, data: RestoreData, model: str | Interpolator | None, weights: str | Path | None, device: str
) -> tuple[Interpolator, str | None, list[str]]:
    """The model that synthesizes, the hash of its weights (None if it came loaded), and notices."""
    if isinstance(model, Interpolator):
        return model, None, []
    if model is None and data.model not in MODELS:
        raise InputError(
            f"{reader.name} was made with the model {data.model}, which this Betwixt does not have: pass another "
            "`model`."
        )
    name = choose_model(model or data.model, weights)
    # fp32 gives the same frames here and at the encoder, whatever the machines support.
    loaded = load_model(name, device, weights=weights, precision="fp32")
    weights_hash = hash_weights(name, weights)
    notes = []
    if name != data.model:
        notes.append(f"It was encoded with the model {data.model}: frames made by {name} will differ.")
    elif weights_hash != data.weights:
        notes.append(
            f"It was encoded with weights {data.weights or 'none'} of {name}, and those here are "
            f"{weights_hash or 'none'}: frames will differ a little."
        )
    return loaded, weights_hash, notes


def _open_output(
    reader: Reader,
    data: RestoreData,
    target: Path,
    rate: Fraction,
    encoder: EncoderSettings,
    settings: dict[str, Any] | None,
    overwrite: bool,
) -> tuple[VideoWriter, Journal | None]:
    """Open the writer, and a journal if the encoder can resume.

    `settings` is what the frames depend on besides the encoder's; None keeps no journal.
    """
    journal: Journal | None = None
    if settings is not None:
        resolved = resolve_encoding(encoder, container_of(target), reader.info)
        if can_keep_journal(resolved.encoder.name, resolved.pixel_format):
            settings = {
                **settings,
                "version": __version__,
                "conversion": "decode",
                "codec": resolved.encoder.name,
                "quality": encoder.quality,
                "pixel-format": resolved.pixel_format,
                "name": target.name,
            }
            journal = Journal(target, settings, overwrite)
    writer = VideoWriter(
        target,
        reader.info,
        rate,
        start=data.start,
        settings=encoder,
        tick=data.tick,
        timestamps=data.ticks,
        last_duration=data.last,
        journal=journal,
    )
    return writer, journal


def _write(
    production: Production,
    writer: VideoWriter,
    journal: Journal | None,
    data: RestoreData,
    summary: Decoded,
    progress: Progress | None,
) -> None:
    """Write every frame, and the packets of the other streams, and count them in the summary."""
    director = production.director
    assert isinstance(director, RestoreDirector)

    def write(frame: MadeFrame | StreamPacket) -> None:
        if isinstance(frame, StreamPacket):
            writer.copy(frame)
            return
        while director.findings:
            number, changed = director.findings.pop()
            director.kinds[number] = changed
        kind = director.kinds.pop(frame.index)
        if frame.index < writer.resumed_frames:
            writer.write_from_journal()
            summary.earlier += 1
        else:
            assert frame.video is not None
            if journal is not None and frame.index in data.coded and kind in ("differing", "concealed"):
                # A run that resumes does not make the frame, and would not know.
                journal.note_frame("differing" if kind == "differing" else "undecodable", frame.index)
            writer.write(frame.video, frame.index)
        summary.count(kind)

    def report() -> None:
        if progress is not None:
            progress("restoring", summary.frames, len(data.ticks))

    run_production(production, write, report)
    report()


def _describe_damage(reader: Reader, data: RestoreData, damaged_packets: list[int], summary: Decoded) -> str | None:
    """What is wrong with the input, as a part of a sentence; None if nothing is."""
    reasons = []
    if damaged_packets:
        seconds = float(data.start + data.time(damaged_packets[0]))
        reasons.append(
            f"{len(damaged_packets)} of its frames arrived damaged, the first at {seconds:.2f} s; "
            "frames after it may show it"
        )
    elif reader.damage and summary.concealed:
        reasons.append(reader.damage)
    if summary.concealed:
        reasons.append(f"{summary.concealed} frames were concealed")
    if summary.differing:
        cause = "another kind of machine, or damage"
        if data.writer != __version__:
            cause = f"Betwixt {data.writer} made them"
        reasons.append(f"{summary.differing} B frames differ from what the encoder made ({cause})")
    return "; ".join(reasons) if reasons else None


def _damaged_packets(source: Path, data: RestoreData) -> list[int]:
    """The numbers of the sent frames whose packets are not what the encoder wrote."""
    checksums: dict[int, int] = {}  # by time in milliseconds
    try:
        with av.open(file_url(source), metadata_errors="replace") as container:
            video = container.streams.video[0]
            time_base = video.time_base or Fraction(1, 1000)
            for packet in container.demux(video):
                if packet.pts is not None and packet.size:
                    checksums[round(packet.pts * time_base * 1000)] = zlib.crc32(bytes(packet))
    except av.error.FFmpegError:
        pass  # compare what could be read
    damaged = []
    for number, expected in zip(data.sent_frames, data.packets, strict=True):
        milliseconds = int(1000 * (data.start + data.time(number)))
        if expected not in (checksums.get(k) for k in range(milliseconds - 1, milliseconds + 3)):
            damaged.append(number)
    return damaged
