"""The base codecs, and how each is told in which order to code.

| order | what the base encoder codes                          | x264, x265        | SVT-AV1             |
|-------|------------------------------------------------------|-------------------|---------------------|
| ip    | kept frames as I and P, others that are sent as B    | types are forced  | low delay; no types |
| p     | all that is sent as I and P                          | types are forced  | low delay           |
| own   | all that is sent, as the encoder thinks best         | the preset's      | the preset's        |

The order "ip" is NCM's (appendix C): I-B-P-B, where the base encoder codes I and P. SVT-AV1 does not let a frame's type
be chosen but for key frames; there a sent B frame is one more frame of the low-delay chain, and a stream of all frames
has the shortest hierarchy that it knows, of four.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import av.error

from betwixt.errors import UsageError

__all__ = ["BASE_CODECS", "ORDERS", "Base", "base_encoder_options", "find_base_codec"]

ORDERS = ("ip", "p", "own")


@dataclass(frozen=True)
class Base:
    """A base codec.

    Attributes:
        name: As the user says it.
        encoder: FFmpeg's encoder.
        preset: The usual one.
        presets: All of them.
        types: Whether the types of frames can be chosen.
    """

    name: str
    encoder: str
    preset: str
    presets: tuple[str, ...]
    types: bool


_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")

BASE_CODECS = {
    base.name: base
    for base in (
        Base("x265", "libx265", "medium", _X26X, types=True),
        Base("x264", "libx264", "medium", _X26X, types=True),
        Base("svtav1", "libsvtav1", "8", tuple(str(n) for n in range(-1, 14)), types=False),
    )
}


def find_base_codec(name: str, preset: str | None = None) -> tuple[Base, str]:
    """A base codec by name, and its preset.

    Raises:
        UsageError: if there is none of that name, its encoder is missing here, or it has no such preset.
    """
    base = BASE_CODECS.get(name)
    if base is None:
        raise UsageError(f"There is no base codec '{name}': choose one of {', '.join(BASE_CODECS)}.")
    try:
        av.Codec(base.encoder, "w")
    except (av.error.FFmpegError, ValueError):
        here = [b.name for b in BASE_CODECS.values() if b.encoder in av.codecs_available]
        hint = f"use --base {' or '.join(here)}" if here else "install PyAV with its own FFmpeg: pip install av"
        raise UsageError(
            f"The FFmpeg of this machine has no {base.encoder}, which --base {name} needs: {hint}."
        ) from None
    if preset is not None and preset not in base.presets:
        raise UsageError(f"{name} has no preset '{preset}': choose one of {', '.join(base.presets)}.")
    return base, preset or base.preset


def base_encoder_options(base: Base, preset: str, order: str, between: int, intra: int) -> dict[str, str]:
    """The encoder's options for an order.

    Args:
        base: The base codec.
        preset: Its preset.
        order: One of `ORDERS`.
        between: How many B frames may follow each other; 0 for I and P alone.
        intra: The distance of I frames, in frames of the base stream; in the order "ip" of a codec with types, the
            caller chooses the I frames.
    """
    chosen = order != "own"
    if base.name == "x264":
        if not chosen:
            return {"preset": preset, "g": str(intra)}
        pyramid = "b-pyramid=none" if between < 2 else "b-pyramid=normal"
        return {
            "preset": preset, "bf": str(between), "b_strategy": "0", "sc_threshold": "0", "g": "999999",
            "forced-idr": "1", "x264-params": pyramid,
        }  # fmt: skip
    if base.name == "x265":
        if not chosen:
            return {"preset": preset, "x265-params": f"keyint={intra}:min-keyint={min(intra, 25)}:info=0"}
        return {
            "preset": preset, "forced-idr": "1",
            "x265-params": f"bframes={between}:b-adapt=0:b-pyramid={int(between > 1)}:scenecut=0:keyint=-1:open-gop=0"
            ":info=0",
        }  # fmt: skip
    order_of = "" if not chosen else "pred-struct=1:" if not between else "hierarchical-levels=2:"
    return {"preset": preset, "svtav1-params": f"{order_of}keyint={intra}"}
