"""Sources of samples: the [[data]] entries of a recipe, opened and mixed by weight.

    [[data]] ──read_entries──► DataEntry ──prepare──► cache         once, for decoded frames and synthetic scenes
                                         └──open────► SampleSource ─┐
                                                      SampleSource ─┴─► SampleMix ──draw_sample(seed, k)──► sample k

    kind              data folder / path                              what is prepared in the cache
    vimeo-triplet     vimeo_triplet/tri_trainlist.txt, sequences/     -
    vimeo-septuplet   vimeo_septuplet/sep_trainlist.txt, sequences/   -
    x-train           train/SCENE/CLIP/*.png or encoded_train/        -
    gopro             train/SEQUENCE/*.png                            -
    clips             *.mp4, *.mkv, ..                                path/clips/: decoded frames, measured triplets
    synthetic         photos/*.jpg, .., and the clips of a clips      path/synthetic-RULES/: scenes with exact motion
                      entry with the same path

Sample k of a run depends on the seed and on k alone: NumPy's generator of (seed, k) chooses the source, the frames, the
crop and every augmentation, in this order. So it is the same in every worker process, and a resumed run continues with
samples that it has not seen. Samples are drawn with replacement: there are no exact epochs.
"""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from betwixt.errors import InputError, UsageError
from betwixt.evaluation.datasets import IMAGE_SUFFIXES
from betwixt.tables import parse_table
from betwixt.training import frame_datasets
from betwixt.training.augmentation import Augmentation, augment
from betwixt.training.clips import STEPS, ClipRule, RealTriplets, load_array
from betwixt.training.sample import Image, SampleSource, TargetTimes, TrainingSample, check_fractions
from betwixt.training.synthetic import SceneRules, SyntheticBank, SyntheticScenes, has_shard

VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".y4m")


@dataclass(frozen=True)
class MixWeight:
    """How often a source is drawn, relative to the others: `first` at sample 0, `last` from sample `until` on.

    Linear in between. Without `last` it is constant.
    """

    first: float = 1.0
    last: float | None = None
    until: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.first < np.inf and (self.last is None or 0 <= self.last < np.inf)):
            raise UsageError("A weight of [[data]] has to be 0 or more.")
        if self.until < 1:
            raise UsageError(f"'until' of a weight is a number of samples: 1 or more, not {self.until}.")

    def at(self, index: int) -> float:
        """The weight at sample `index`."""
        if self.last is None:
            return self.first
        return self.first + (self.last - self.first) * min(1.0, index / self.until)


class SampleMix:
    """Draws from several sources by their weights."""

    def __init__(self, sources: Sequence[tuple[SampleSource, MixWeight]]) -> None:
        self.sources = tuple(source for source, _ in sources)
        self._weights = tuple(weight for _, weight in sources)
        ends = (0, max(weight.until for weight in self._weights))
        if not all(sum(weight.at(index) for weight in self._weights) > 0 for index in ends):
            raise UsageError("The weights of [[data]] are all 0: there is nothing to draw.")

    def draw(self, rng: np.random.Generator, size: int, index: int = 0) -> TrainingSample:
        """Draw a sample of `size` x `size` pixels; `index` is its number in the run, for weights that change."""
        weights = [weight.at(index) for weight in self._weights]
        position = rng.random() * sum(weights)
        # The last source with a weight also takes what floating-point errors leave over.
        last = max(i for i, weight in enumerate(weights) if weight > 0)
        for i, weight in enumerate(weights[:last]):
            if position < weight:
                return self.sources[i].draw(rng, size)
            position -= weight
        return self.sources[last].draw(rng, size)


def draw_sample(
    mix: SampleMix, augmentation: Augmentation, size: int, seed: int, index: int
) -> tuple[TrainingSample, np.random.Generator]:
    """Draw sample `index` of a run, augmented; also returns its generator, for further random choices."""
    rng = np.random.default_rng((seed, index))
    return augment(rng, mix.draw(rng, size, index), augmentation), rng


@dataclass(frozen=True)
class DataEntry(ABC):
    """An entry [[data]] of a recipe."""

    kind: ClassVar[str]

    path: str = "."  # of the data, relative to the data folder of the run
    weight: MixWeight = MixWeight()  # how often it is drawn

    @abstractmethod
    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """Open the source, given all entries of the recipe; `InputError` if data is missing, empty or not prepared."""


@dataclass(frozen=True)
class _FramesEntry(DataEntry):
    """Base of the published data sets of image files."""

    times: TargetTimes = "between"  # target times: "middle", "between" or "next"
    enlarge: float = 0.0  # fraction of the samples that are upscaled by 2

    def __post_init__(self) -> None:
        check_fractions({"enlarge": self.enlarge}, f"[[data]] of kind {self.kind}")


@dataclass(frozen=True)
class VimeoTripletEntry(_FramesEntry):
    """Vimeo-90K, triplets of the list file `names`; `times` is "middle" or "next"."""

    kind = "vimeo-triplet"

    times: TargetTimes = "middle"
    names: str = "tri_trainlist.txt"

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        return frame_datasets.open_vimeo90k(data / self.path, 3, self.times, self.names, self.enlarge)


@dataclass(frozen=True)
class VimeoSeptupletEntry(_FramesEntry):
    """Vimeo-90K: any three of the seven frames of the septuplets of the list file `names`."""

    kind = "vimeo-septuplet"

    names: str = "sep_trainlist.txt"

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        return frame_datasets.open_vimeo90k(data / self.path, 7, self.times, self.names, self.enlarge)


@dataclass(frozen=True)
class _SequencesEntry(_FramesEntry):
    """Base of the data sets of long sequences; `gaps` is the range of distances between frame 0 and frame 1."""

    gaps: tuple[int, int] = (2, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        frame_datasets.RandomGaps(*self.gaps, self.times)


@dataclass(frozen=True)
class XTrainEntry(_SequencesEntry):
    """X-TRAIN."""

    kind = "x-train"

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        return frame_datasets.open_x_train(data / self.path, self.gaps, self.times, self.enlarge)


@dataclass(frozen=True)
class GoProEntry(_SequencesEntry):
    """GoPro."""

    kind = "gopro"

    gaps: tuple[int, int] = (8, 8)

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        return frame_datasets.open_gopro(data / self.path, self.gaps, self.times, self.enlarge)


@dataclass(frozen=True)
class ClipsEntry(DataEntry):
    """A folder of clips, of which the useful triplets are measured and drawn (`betwixt.training.clips`).

    Attributes:
        exclude: Names (without suffix) of clips that are never drawn.
        clips: By name, how a clip is used: its `end` in seconds, its `weight`.
        times: Target times.
        gaps: Allowed gaps between the outer frames, of 2, 3, 4 and 6; empty: all.
    """

    kind = "clips"

    exclude: tuple[str, ...] = ()
    clips: Mapping[str, ClipRule] = field(default_factory=dict)
    times: TargetTimes = "between"
    gaps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        where = f"[[data]] of kind {self.kind}"
        rules = {
            name: rule if isinstance(rule, ClipRule) else parse_table(ClipRule, rule, f"'clips.{name}' in {where}")
            for name, rule in self.clips.items()
        }
        object.__setattr__(self, "clips", rules)
        unknown = set(self.gaps) - {gap for gap, _ in STEPS}
        if unknown:
            raise UsageError(f"'gaps' in {where} can be 2, 3, 4 and 6 frames, not {min(unknown)}.")

    def files(self, data: Path) -> list[Path]:
        """The video files of the clips that are not excluded.

        Raises:
            InputError: if there is none, or a clip that the recipe names is missing.
        """
        root = data / self.path
        if not root.is_dir():
            raise InputError(f"There is no folder {root}: put the clips there.")
        files = [path for path in sorted(root.iterdir()) if path.suffix.lower() in VIDEOS and path.is_file()]
        if not files:
            raise InputError(f"{root} has no clip: put videos ({', '.join(VIDEOS)}) there.")
        missing = sorted({*self.exclude, *self.clips} - {path.stem for path in files})
        if missing:
            raise InputError(f"{root} has no clip '{missing[0]}', which the recipe names.")
        return [path for path in files if path.stem not in self.exclude]

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        return RealTriplets(cache / self.path, self.clips, self.times, self.gaps, self.exclude)


@dataclass(frozen=True)
class SyntheticEntry(DataEntry):
    """Synthetic scenes (`betwixt.training.synthetic`) from photographs and from frames of clips.

    Frames are taken from the clips of the entry of kind "clips" that has the same path, if there is one.

    Attributes:
        pictures: Folder of photographs, relative to `path`.
        shards: Number of shards of 512 scenes that are rendered in advance; 0 renders each scene when it is drawn.
        size: Side of the pre-rendered scenes, pixels: at least the crop with its margin.
        scenes: The rules of the scenes.
    """

    kind = "synthetic"

    pictures: str = "photos"
    shards: int = 24
    size: int = 192
    scenes: SceneRules = field(default_factory=SceneRules)

    def __post_init__(self) -> None:
        if self.shards < 0 or self.size < 32:
            raise UsageError("Synthetic [[data]] needs 'shards' of 0 or more and a 'size' of 32 pixels or more.")

    def bank(self, cache: Path) -> Path:
        """The folder of the pre-rendered scenes; each combination of size and rules has its own.

        A folder named just `synthetic` was made before there were rules; it is used by every recipe with scenes of 192
        pixels and 0 < t < 1.
        """
        unnamed = cache / self.path / "synthetic"
        if self.size == 192 and self.scenes.times != "next" and has_shard(unnamed, 0):
            return unnamed
        rules = json.dumps([self.size, asdict(self.scenes)])
        return cache / self.path / f"synthetic-{zlib.crc32(rules.encode()):08x}"

    def textures(self, data: Path, cache: Path, entries: Sequence[DataEntry]) -> list[Image]:
        """The photographs, and frames of every clip: three, or one in 400 if that is more."""
        folder = data / self.path / self.pictures
        result = []
        for path in sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES):
            photo = cv2.imread(str(path))
            if photo is None:
                raise InputError(f"{path} is damaged: it cannot be read as an image.")
            result.append(np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), np.uint8))
        for entry in entries:
            if isinstance(entry, ClipsEntry) and entry.path == self.path:
                for clip in entry.files(data):
                    frames = load_array(cache / self.path / "clips" / f"{clip.stem}.npy", mapped=True)
                    numbers = np.linspace(0, len(frames) - 1, max(3, len(frames) // 400), dtype=int)
                    result += [np.array(frames[i]) for i in numbers]
        if not result:
            raise InputError(f"{folder} has no image, and there are no clips beside it to make scenes from.")
        return result

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        if self.shards == 0:
            return SyntheticScenes(self.textures(data, cache, entries), self.scenes)
        return SyntheticBank(self.bank(cache), self.scenes.times)


KINDS: dict[str, type[DataEntry]] = {
    kind.kind: kind
    for kind in (VimeoTripletEntry, VimeoSeptupletEntry, XTrainEntry, GoProEntry, ClipsEntry, SyntheticEntry)
}
"""Entry classes by the `kind` in a recipe."""


def read_entries(tables: Sequence[Mapping[str, Any]], where: str) -> list[DataEntry]:
    """Parse the [[data]] tables of a recipe; no file is opened yet. `where` names the recipe in messages."""
    if not tables:
        raise UsageError(f"{where} has no data: add [[data]].")
    entries = []
    for table in tables:
        settings = dict(table)
        kind = settings.pop("kind", None)
        if not isinstance(kind, str) or kind not in KINDS:
            raise UsageError(f"[[data]] of {where} needs kind = one of {', '.join(KINDS)}, not {kind!r}.")
        place = f"[[data]] of kind {kind} in {where}"
        weight = settings.get("weight", 1.0)
        if isinstance(weight, int | float) and not isinstance(weight, bool):
            settings["weight"] = {"first": weight}
        entries.append(parse_table(KINDS[kind], settings, place))
    return entries


def open_mix(entries: Sequence[DataEntry], data: Path, cache: Path) -> SampleMix:
    """Open the sources of a recipe's entries; `InputError` if data is missing, incomplete or not prepared."""
    check_data_folder(data)
    return SampleMix([(entry.open(data, cache, entries), entry.weight) for entry in entries])


def check_data_folder(data: Path) -> None:
    """Raise `InputError` if the data folder does not exist."""
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}: set `data` to the folder that holds the recipe's data.")
