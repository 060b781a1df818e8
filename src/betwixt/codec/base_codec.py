"""The base codecs, and the encoder options that make each code frames in a given order.

| order | what the base encoder codes                           | x264, x265         | SVT-AV1                  |
|-------|-------------------------------------------------------|--------------------|--------------------------|
| ip    | kept frames as I and P, other sent frames as B        | types are forced   | low delay, no types      |
| p     | all sent frames as I and P                            | types are forced   | low delay                |
| own   | all sent frames, in the order that the encoder picks  | the preset's order | the preset's order       |

"ip" is the order of NCM (appendix C): I-B-P-B, where the base encoder codes I and P. SVT-AV1 accepts no frame types
except for key frames: a sent B frame becomes one more frame of the low-delay chain, and a stream of all frames gets the
shortest hierarchy that the encoder has, of four frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import av.error

from betwixt.errors import UsageError

ORDERS = ("ip", "p", "own")


@dataclass(frozen=True)
class BaseCodec:
    """A base codec."""

    name: str  # the name to choose it by
    encoder: str  # FFmpeg's encoder
    preset: str
    presets: tuple[str, ...]
    sets_frame_types: bool  # whether the encoder accepts a type for each frame


_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip

BASE_CODECS = {
    codec.name: codec
    for codec in (
        BaseCodec("x265", "libx265", "medium", _X26X_PRESETS, sets_frame_types=True),
        BaseCodec("x264", "libx264", "medium", _X26X_PRESETS, sets_frame_types=True),
        BaseCodec("svtav1", "libsvtav1", "8", tuple(str(n) for n in range(-1, 14)), sets_frame_types=False),
    )
}


def find_base_codec(name: str, preset: str | None = None) -> tuple[BaseCodec, str]:
    """A base codec by name, and its preset.

    Raises:
        UsageError: if there is none of that name, its encoder is missing here, or it has no such preset.
    """
    codec = BASE_CODECS.get(name)
    if codec is None:
        raise UsageError(f"There is no base codec '{name}': choose one of {', '.join(BASE_CODECS)}.")
    try:
        av.Codec(codec.encoder, "w")
    except (av.error.FFmpegError, ValueError):
        available = [c.name for c in BASE_CODECS.values() if c.encoder in av.codecs_available]
        hint = "install PyAV with its own FFmpeg: pip install av"
        if available:
            hint = f"pass {' or '.join(f'`base={name}`' for name in available)}"
        raise UsageError(
            f"The FFmpeg of this machine has no {codec.encoder}, which `base={name}` needs: {hint}."
        ) from None
    if preset is not None and preset not in codec.presets:
        raise UsageError(f"{name} has no preset '{preset}': choose one of {', '.join(codec.presets)}.")
    return codec, preset or codec.preset


def base_encoder_options(
    codec: BaseCodec, preset: str, order: str, max_b_frames: int, intra_distance: int
) -> dict[str, str]:
    """The encoder's options for one of `ORDERS`.

    At most `max_b_frames` B frames follow each other; 0 gives I and P alone. `intra_distance`, of I frames, in frames
    of the base stream, is ignored in the orders "ip" and "p" of a codec with frame types: the caller chooses them.
    """
    own_order = order == "own"
    if codec.name == "x264":
        if own_order:
            return {"preset": preset, "g": str(intra_distance)}
        pyramid = "b-pyramid=none" if max_b_frames < 2 else "b-pyramid=normal"
        return {
            "preset": preset, "bf": str(max_b_frames), "b_strategy": "0", "sc_threshold": "0", "g": "999999",
            "forced-idr": "1", "x264-params": pyramid,
        }  # fmt: skip
    if codec.name == "x265":
        if own_order:
            keyint = f"keyint={intra_distance}:min-keyint={min(intra_distance, 25)}"
            return {"preset": preset, "x265-params": f"{keyint}:info=0"}
        return {
            "preset": preset, "forced-idr": "1",
            "x265-params": f"bframes={max_b_frames}:b-adapt=0:b-pyramid={int(max_b_frames > 1)}:scenecut=0:keyint=-1"
            ":open-gop=0:info=0",
        }  # fmt: skip
    structure = "" if own_order else "pred-struct=1:" if not max_b_frames else "hierarchical-levels=2:"
    return {"preset": preset, "svtav1-params": f"{structure}keyint={intra_distance}"}
