"""Benchmarks of video files: frames in between are dropped and restored from those that are kept."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from betwixt.errors import InputError
from betwixt.evaluation.datasets.base import Dataset, Sample, SampleImages, failing_loader
from betwixt.evaluation.metrics import Image8, to_uint8
from betwixt.media.colour import RGBConverter
from betwixt.media.frames import planes
from betwixt.media.reader import Frame, Reader


class _Videos(Dataset):
    """What sets of video files share."""

    consecutive = True
    STEP: ClassVar[int] = 2
    """The distance of two frames that are kept."""

    @property
    def times(self) -> tuple[float, ...]:
        """The times of the frames to restore."""
        return tuple(i / self.STEP for i in range(1, self.STEP))

    def sample_name(self, path: Path) -> str:
        """The path of a video relative to the root."""
        return path.relative_to(self.root).as_posix() if path != self.root else path.name

    def video_samples(self, path: Path, max_frames: int | None) -> Iterator[Sample]:
        """The samples of one video. A damaged video gives one sample that fails to load."""
        name = self.sample_name(path)
        try:
            for _ in _decode(path, max_frames, convert=False):
                pass
        except InputError as error:
            yield Sample(name, name, self.times, failing_loader(str(error)))
            return
        window: list[Image8] = []
        for number, image in enumerate(_decode(path, max_frames)):
            window.append(image)
            if len(window) == self.STEP + 1:
                first, *truths, second = window
                load = functools.partial(SampleImages, first, second, truths)
                yield Sample(f"{name}/{number - self.STEP + 1:06d}", name, self.times, load, run=name)
                window = [second]


def _decode(path: Path, max_frames: int | None, *, convert: bool = True) -> Iterator[Image8]:
    """The first frames of a video as 8-bit RGB, by its own matrix and range; none without `convert`, which only checks.

    Raises:
        InputError: if it cannot be read, or is damaged before its end.
    """
    with Reader(path) as reader:
        converter: RGBConverter | None = None
        frames = (item for item in reader if isinstance(item, Frame))
        for frame in itertools.islice(frames, max_frames):
            if convert:
                video = frame.video
                if converter is None:
                    converter = RGBConverter(video.format.name, video.width, video.height, reader.info.colour)
                yield to_uint8(converter.to_rgb(planes(video)))
        if reader.damage:
            raise InputError(f"{path} is damaged: {reader.damage}.")


class HD(_Videos):
    """The HD set of Bao et al.: 11 videos, three of 720p, four of 1080p, four of 1280x544: `HD_dataset/*/NAME.yuv`.

    Frames 1, 3, .. 99 of each are restored from their neighbours: the first hundred, as RIFE states (section 4.1),
    whose own script also reads frame 100; a video that ends sooner gives fewer. The figures that RIFE prints for this
    set are of luma: the metric `psnr_y`. Bao et al., MEMC-Net, TPAMI 2018. Other videos are used only if none of those
    eleven is there. A raw .yuv (4:2:0) needs its size in its name or its folder's: NAME_1280x720_25.yuv, or 1080p,
    720p, 544p.
    """

    name = "hd"
    protocol = "frames 1, 3, .. 99 of their neighbours, 11 videos of 544p, 720p and 1080p (RIFE, section 4.1: psnr_y)"
    mean_of_sequences = True

    VIDEOS: ClassVar[tuple[str, ...]] = (
        "HD720p_GT/parkrun_1280x720_50",
        "HD720p_GT/shields_1280x720_60",
        "HD720p_GT/stockholm_1280x720_60",
        "HD1080p_GT/BlueSky",
        "HD1080p_GT/Kimono1_1920x1080_24",
        "HD1080p_GT/ParkScene_1920x1080_24",
        "HD1080p_GT/sunflower_1080p25",
        "HD544p_GT/Sintel_Alley2_1280x544",
        "HD544p_GT/Sintel_Market5_1280x544",
        "HD544p_GT/Sintel_Temple1_1280x544",
        "HD544p_GT/Sintel_Temple2_1280x544",
    )
    SUFFIXES: ClassVar[tuple[str, ...]] = (".yuv", ".y4m", ".mp4", ".mkv", ".avi", ".mov")
    MAX_FRAMES: ClassVar[int] = 101

    FOLDER: ClassVar[str] = ""
    """The folder of the videos that are used; all by default."""

    def samples(self) -> Iterator[Sample]:
        base = self.find_folder("HD_dataset", "hd", ".")
        names = [name for name in self.VIDEOS if name.startswith(self.FOLDER)]
        videos = sorted(p for p in (base / self.FOLDER).rglob("*") if p.suffix.lower() in self.SUFFIXES)
        if not videos:
            raise InputError(f"{base} has no video of the HD set: expected {base / names[0]}.yuv and others.")
        published = {Path(name).name: name for name in names}
        present = {path.stem: path for path in videos if path.stem in published}
        if present:
            videos = [present.get(stem, base / f"{name}.yuv") for stem, name in published.items()]
        for path in videos:
            name = self.sample_name(path)
            if not path.exists():
                yield Sample(name, name, self.times, failing_loader(f"{path} is missing."))
            elif path.suffix.lower() == ".yuv":
                yield from self._raw_samples(path)
            else:
                yield from self.video_samples(path, self.MAX_FRAMES)

    def _raw_samples(self, path: Path) -> Iterator[Sample]:
        """The samples of a raw 8-bit 4:2:0 video."""
        name = self.sample_name(path)
        size = _size_from_name(path)
        if size is None or 0 in size or size[0] % 2 or size[1] % 2:
            reason = f"{path}: its size, of even sides, has to be in its name, such as NAME_1280x720_25.yuv."
            yield Sample(name, name, self.times, failing_loader(reason))
            return
        width, height = size
        frame_bytes = width * height * 3 // 2
        total = path.stat().st_size
        count = min(self.MAX_FRAMES, total // frame_bytes)
        if total % frame_bytes or count < self.STEP + 1:
            reason = f"{path} is damaged: it has {total / frame_bytes:.2f} frames of {width}x{height}."
            yield Sample(name, name, self.times, failing_loader(reason))
            return

        def load(i: int) -> SampleImages:
            first, *truths, second = (_read_raw_frame(path, n, width, height) for n in range(i - 1, i + self.STEP))
            return SampleImages(first, second, truths)

        for i in range(1, count - self.STEP + 1, self.STEP):
            yield Sample(f"{name}/{i:06d}", name, self.times, functools.partial(load, i), run=name)


class _HD4x(HD):
    """The HD set at four times the frame rate: frames 0, 4, .. 100 are kept, the three between each two restored.

    The set is scored by resolution, as in RIFE's table 5. RIFE's own script takes the PSNR of luma: `psnr_y`.
    """

    STEP = 4
    consecutive = False  # minterpolate doubles the rate

    def __init_subclass__(cls, height: str, videos: str) -> None:
        cls.name, cls.FOLDER = f"hd-4x-{height}", f"HD{height}_GT"
        cls.protocol = (
            f"4x: frames 1, 2, 3, 5 .. 99 of frames 0, 4, .. 100, the {videos} videos of {height} "
            "(RIFE, table 5; its script takes psnr_y)"
        )


class HD4x544p(_HD4x, height="544p", videos="four"):
    """Four videos of 1280x544; see `_HD4x`."""


class HD4x720p(_HD4x, height="720p", videos="three"):
    """Three videos of 1280x720; see `_HD4x`."""


class HD4x1080p(_HD4x, height="1080p", videos="four"):
    """Four videos of 1920x1080; see `_HD4x`."""


def _size_from_name(path: Path) -> tuple[int, int] | None:
    """Width and height of a raw video as its name, or its folder's, states them."""
    if match := re.search(r"(\d{2,5})x(\d{2,5})", path.name):
        return int(match[1]), int(match[2])
    for word, size in {"1080p": (1920, 1080), "720p": (1280, 720), "544p": (1280, 544)}.items():
        if word in path.name or word in path.parent.name:
            return size
    return None


_YUV_TO_RGB = np.array([[1.0, 0.0, 1.13988303], [1.0, -0.394642334, -0.58062185], [1.0, 2.03206185, 0.0]])
"""YUV, with U and V around 0, to RGB: the inverse of scikit-image's matrix."""


def _read_raw_frame(path: Path, number: int, width: int, height: int) -> Image8:
    """A frame of a raw video as RIFE's script reads it: as full range (though video is limited), BT.470 matrix."""
    length = width * height * 3 // 2
    data = np.fromfile(path, np.uint8, length, offset=number * length)
    luma, chroma = data[: width * height], data[width * height :].reshape(2, height // 2, width // 2)
    chroma_full = [cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in chroma]
    yuv = np.stack([luma.reshape(height, width), *chroma_full], axis=2) / 255.0 - np.array([0.0, 0.5, 0.5])
    image: Image8 = (np.clip(yuv @ _YUV_TO_RGB.T, 0, 1) * 255).astype(np.uint8)
    return image


class Video(_Videos):
    """Any video, or a folder of videos: every other frame is dropped and restored from its neighbours."""

    name = "video"
    protocol = "every other frame of its neighbours, any video"
    SUFFIXES: ClassVar[tuple[str, ...]] = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".y4m", ".ts", ".m4v")

    def samples(self) -> Iterator[Sample]:
        videos = [self.root]
        if self.root.is_dir():
            videos = sorted(p for p in self.root.iterdir() if p.suffix.lower() in self.SUFFIXES)
            if not videos:
                raise InputError(f"{self.root} has no video.")
        for path in videos:
            yield from self.video_samples(path, None)
