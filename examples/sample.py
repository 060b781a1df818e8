"""The sample clip: a short film drawn by code, whose true frame at any time is known.

    0 s                            seconds / 2                        seconds
    | a windmill on hills, morning | cut, tick | a fair by a river, night |

The scenes (`sample_scenes.py`) hold what frame interpolation has to handle: layers at several speeds (parallax), an
object that turns, one that passes behind others, thin structures (sails, wires, spokes, bridge hangers), soft light,
water, and a cut between them. The sound is a chord for each scene and a tick at the cut, so that sync can be heard.

`render` draws the frame at any time, so the ground truth is at hand for every frame rate.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.files import hidden_path, write_error
from betwixt.media.frames import planes
from sample_scenes import Morning, Night, load_scene

RATE = Fraction(24000, 1001)
"""Frames per second of the sample clip."""

SECONDS = Fraction(6)
"""Length of the sample clip."""

SOUND_RATE = 48000
"""Audio samples per second."""


def render(
    time: Fraction | float,
    width: int = 640,
    height: int = 360,
    *,
    seconds: Fraction | float = SECONDS,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Draw the frame at `time`.

    Args:
        time: In seconds, from 0; there is a frame at any time.
        width: Width in pixels, at least 32.
        height: Height in pixels, at least 32. Another size shows the same film.
        seconds: Length of the whole clip: the cut lies half way.
        seed: Seed of the hills, clouds, houses and stars.

    Returns:
        (H, W, 3) RGB uint8, BT.709 primaries with the sRGB transfer.
    """
    cut, time = Fraction(seconds) / 2, Fraction(time)
    if time < cut:
        return load_scene(Morning, width, height, seed).render(float(time))
    return load_scene(Night, width, height, seed).render(float(time - cut))


def make_sample(
    path: str | Path,
    *,
    width: int = 640,
    height: int = 360,
    rate: Fraction = RATE,
    seconds: Fraction | float = SECONDS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the sample clip: H.264 High (crf 16, yuv420p, BT.709) and AAC in MP4.

    Args:
        path: Output file; it appears when it is complete, and replaces what was there.
        width: Width in pixels, even, at least 32.
        height: Height in pixels, even, at least 32.
        rate: Frames per second.
        seconds: Length.
        seed: Seed of the film, as for `render`.
        progress: Called with the number of finished frames and of all frames.

    Returns:
        The path.

    Raises:
        UsageError: for a size, rate or length that the clip cannot have.
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    if width % 2 or height % 2 or width < 32 or height < 32:
        raise UsageError(f"The sample clip cannot be {width}x{height}: use even numbers of at least 32.")
    if rate <= 0 or seconds <= 0:
        raise UsageError("The sample clip needs a rate and a length above zero.")
    temporary = hidden_path(path, f".{secrets.token_hex(4)}.part.mp4")
    try:
        _encode(temporary, width, height, Fraction(rate), Fraction(seconds), seed, progress)
        temporary.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(error, path) from None
    finally:
        if temporary.exists():
            temporary.unlink()
    return path


def _encode(
    path: Path,
    width: int,
    height: int,
    rate: Fraction,
    seconds: Fraction,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    count = max(2, round(seconds * rate))
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = 1 / rate
        video.options = {"crf": "16", "preset": "medium", "profile": "high"}
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        audio.bit_rate = 160_000
        samples = sound(seconds, seed=seed)
        begin = 0
        for number in range(count):
            frame = _to_yuv(render(number / rate, width, height, seconds=seconds, seed=seed))
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(video.encode(frame))
            # The sound up to the end of this frame.
            end = samples.shape[1]
            if number < count - 1:
                end = min(end, int((number + 1) / rate * SOUND_RATE))
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, begin:end]), format="fltp", layout="stereo"
            )
            part.sample_rate, part.pts, part.time_base = SOUND_RATE, begin, Fraction(1, SOUND_RATE)
            container.mux(audio.encode(part))
            begin = end
            if progress is not None:
                progress(number + 1, count)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _to_yuv(image: NDArray[np.uint8]) -> av.VideoFrame:
    """Convert to yuv420p, BT.709, limited range, chroma at the left (swscale would round chroma down)."""
    height, width = image.shape[:2]
    kr, kb = 0.2126, 0.0722
    kg = 1 - kr - kb
    y, b, r = np.array([kr, kg, kb]), 112 / (1 - kb), 112 / (1 - kr)
    matrix = np.stack([219 * y, b * (np.array([0, 0, 1]) - y), r * (np.array([1, 0, 0]) - y)]) / 255
    luma, cb, cr = cv2.split(cv2.transform(image.astype(np.float32), matrix.astype(np.float32)))
    frame = av.VideoFrame(width, height, "yuv420p")
    targets = planes(frame)
    targets[0][...] = np.rint(luma + 16)
    for target, chroma in zip(targets[1:], (cb, cr), strict=True):
        wide = np.pad(chroma, [(0, 0), (1, 1)], mode="edge")
        across = (wide[:, 0:-2:2] + 2 * wide[:, 1:-1:2] + wide[:, 2::2]) / 4
        target[...] = np.rint((across[0::2] + across[1::2]) / 2 + 128)
    frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
    return frame


def sound(seconds: Fraction | float = SECONDS, *, seed: int = 0) -> NDArray[np.float32]:
    """The sound of the whole clip: (2, samples) float32 in [-1, 1], left and right, at `SOUND_RATE`.

    A chord for each scene, and a tick that begins at the cut, `seconds` / 2.
    """
    total, cut = round(float(seconds) * SOUND_RATE), round(float(seconds) / 2 * SOUND_RATE)
    result = np.zeros((2, total), np.float32)
    chords = [(130.81, 196.0, 261.63, 329.63, 493.88), (110.0, 164.81, 220.0, 261.63, 392.0)]
    rng = np.random.default_rng(seed)
    for notes, start, end in zip(chords, (0, cut), (cut, total), strict=True):
        t = np.arange(end - start) / SOUND_RATE
        envelope = np.clip(t / 0.6, 0, 1) * np.clip((t[-1:] - t) / 0.35, 0, 1) if len(t) else t
        envelope = np.sin(envelope * math.pi / 2) ** 2
        for number, note in enumerate(notes):
            phase, wobble = rng.uniform(0, 2 * math.pi, 2)
            loudness = 1 + 0.25 * np.sin(2 * math.pi * 0.5 * t + wobble)
            tone = sum(np.sin(2 * math.pi * note * k * t + k * phase) / k**2.2 for k in (1, 2, 3, 4))
            side = 0.5 + 0.35 * math.cos(number * 2.1)
            for channel, gain in enumerate((side, 1 - side)):
                result[channel, start:end] += (0.085 * gain * envelope * loudness * tone).astype(np.float32)
    t = np.arange(min(total - cut, SOUND_RATE // 8)) / SOUND_RATE
    tick = 0.45 * np.exp(-t / 0.012) * np.sin(2 * math.pi * 1760 * t)
    tick += 0.25 * np.exp(-t / 0.004) * np.sin(2 * math.pi * 4200 * t)
    result[:, cut : cut + len(t)] += tick.astype(np.float32)
    return np.clip(result, -1, 1)
