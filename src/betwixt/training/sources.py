"""Where samples come from: a recipe's [[data]] entries, opened as sources and mixed by weight.

    [[data]] ──read_entries──► Entry ──prepare──► cache         once, where frames are decoded or scenes made
                                     └──open────► Source ─┐
                                                  Source ─┴─► Mix ──draw_sample(seed, k)──► sample k

    kind              under --data / path                             what is made in the cache
    vimeo-triplet     vimeo_triplet/tri_trainlist.txt, sequences/     -
    vimeo-septuplet   vimeo_septuplet/sep_trainlist.txt, sequences/   -
    x-train           train/SCENE/CLIP/*.png or encoded_train/        -
    gopro             train/SEQUENCE/*.png                            -
    clips             *.mp4, *.mkv, ..                                path/clips/: decoded frames, measured triplets
    synthetic         photos/*.jpg, .., and the clips of an entry     path/synthetic-RULES/: scenes with exact motion
                      of kind clips that has the same path

Sample k of a run depends on the seed and on k alone: numpy's generator of (seed, k) decides on the source, the frames,
the crop and every augmentation, in this order. So it is the same whichever process draws it, and a run that was stopped
goes on with the samples that it has not seen. Samples are drawn with replacement: no epoch is an exact pass.
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
from betwixt.training.clips import ClipRule, RealTriplets, load_array
from betwixt.training.sample import Image, SampleSource, TargetTimes, TrainingSample, check_shares
from betwixt.training.synthetic import SceneRules, SyntheticBank, SyntheticScenes, has_shard

__all__ = [
    "KINDS",
    "ClipsEntry",
    "DataEntry",
    "GoProEntry",
    "MixWeight",
    "SampleMix",
    "SampleSource",
    "SyntheticEntry",
    "TrainingSample",
    "VimeoSeptupletEntry",
    "VimeoTripletEntry",
    "XTrainEntry",
    "draw_sample",
    "open_mix",
    "read_entries",
]

VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".y4m")


@dataclass(frozen=True)
class MixWeight:
    """How often a source is drawn, relative to the others: `first` at sample 0, `last` from sample `until` on.

    Linear between them. Without `last` it stays as it is.
    """

    first: float = 1.0
    last: float | None = None
    until: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.first < np.inf and (self.last is None or 0 <= self.last < np.inf)):
            raise UsageError("A weight of [[data]] is a number of 0 or more.")
        if self.until < 1:
            raise UsageError(f"'until' of a weight is a number of samples: 1 or more, not {self.until}.")

    def at(self, number: int) -> float:
        """The weight at sample `number`."""
        if self.last is None:
            return self.first
        done = min(1.0, number / max(self.until, 1))
        return self.first + (self.last - self.first) * done


class SampleMix:
    """Several sources, drawn from by their weights; one is a mix as well."""

    def __init__(self, sources: Sequence[tuple[SampleSource, MixWeight]]) -> None:
        if not sources:
            raise UsageError("A recipe without [[data]] has nothing to learn from.")
        self.sources = tuple(source for source, _ in sources)
        self._weights = tuple(weight for _, weight in sources)
        ends = (0, max(weight.until for weight in self._weights))
        if not all(sum(weight.at(number) for weight in self._weights) > 0 for number in ends):
            raise UsageError("The weights of [[data]] are all 0: nothing is left to be drawn.")

    def draw(self, rng: np.random.Generator, size: int, number: int = 0) -> TrainingSample:
        """A sample of `size` x `size` pixels; `number` is how many were drawn before it, for weights that change."""
        weights = [weight.at(number) for weight in self._weights]
        place = rng.random() * sum(weights)
        # The last source is also what rounding leaves over.
        last = max(i for i, weight in enumerate(weights) if weight > 0)
        for i, weight in enumerate(weights[:last]):
            if place < weight:
                return self.sources[i].draw(rng, size)
            place -= weight
        return self.sources[last].draw(rng, size)


def draw_sample(
    mix: SampleMix, augmentation: Augmentation, size: int, seed: int, number: int
) -> tuple[TrainingSample, np.random.Generator]:
    """Sample `number` of a run, and the generator for what else is to be drawn for it."""
    rng = np.random.default_rng((seed, number))
    return augment(rng, mix.draw(rng, size, number), augmentation), rng


@dataclass(frozen=True)
class DataEntry(ABC):
    """An entry [[data]] of a recipe.

    Attributes:
        path: Of the data, relative to the data folder of the run.
        weight: How often it is drawn.
    """

    kind: ClassVar[str]

    path: str = "."
    weight: MixWeight = MixWeight()

    @abstractmethod
    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """The source.

        Args:
            data: The data folder of the run.
            cache: Where `betwixt.training.prepare.prepare` has put what it made.
            entries: All entries of the recipe.

        Raises:
            InputError: if the data is not there, is empty or incomplete.
        """

    def root(self, data: Path) -> Path:
        """Where the data lies."""
        return data / self.path


@dataclass(frozen=True)
class _Pictures(DataEntry):
    """What published sets of pictures share.

    Attributes:
        times: Which frames are to be learned, of two frames and those around: "middle", "between" or "next".
        enlarge: Share of the samples at twice their size.
    """

    times: TargetTimes = "between"
    enlarge: float = 0.0

    def __post_init__(self) -> None:
        check_shares({"enlarge": self.enlarge}, f"[[data]] of kind {self.kind}")


@dataclass(frozen=True)
class VimeoTripletEntry(_Pictures):
    """Vimeo-90K, triplets.

    Attributes:
        times: "middle", or "next": the third frame of the first two.
        names: The list file.
    """

    kind = "vimeo-triplet"

    times: TargetTimes = "middle"
    names: str = "tri_trainlist.txt"

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """See `DataEntry`."""
        return frame_datasets.open_vimeo90k(self.root(data), 3, self.times, self.names, self.enlarge)


@dataclass(frozen=True)
class VimeoSeptupletEntry(_Pictures):
    """Vimeo-90K, septuplets: any three frames of seven; see `frame_datasets.ListedTriplets`."""

    kind = "vimeo-septuplet"

    names: str = "sep_trainlist.txt"

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """See `DataEntry`."""
        return frame_datasets.open_vimeo90k(self.root(data), 7, self.times, self.names, self.enlarge)


@dataclass(frozen=True)
class _Sequences(_Pictures):
    """Sequences of consecutive frames; `gaps` are the smallest and the largest distance of frame 0 and frame 1."""

    gaps: tuple[int, int] = (2, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        frame_datasets.RandomGaps(*self.gaps, self.times)


@dataclass(frozen=True)
class XTrainEntry(_Sequences):
    """X-TRAIN; see `frame_datasets.open_x_train`."""

    kind = "x-train"

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """See `DataEntry`."""
        return frame_datasets.open_x_train(self.root(data), self.gaps, self.times, self.enlarge)


@dataclass(frozen=True)
class GoProEntry(_Sequences):
    """GoPro; see `frame_datasets.open_gopro`."""

    kind = "gopro"

    gaps: tuple[int, int] = (8, 8)

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """See `DataEntry`."""
        return frame_datasets.open_gopro(self.root(data), self.gaps, self.times, self.enlarge)


@dataclass(frozen=True)
class ClipsEntry(DataEntry):
    """A folder of clips, out of which triplets that are worth learning from are measured (`training.clips`).

    Attributes:
        exclude: Clips that are never drawn from, by their names without suffix.
        clips: By names, what may be taken of a clip: its `end` in seconds, its `weight`.
        times: Which frames are to be learned.
        gaps: How far apart the outer frames lie, of 2, 3, 4 and 6 frames; empty for all.
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
        unknown = set(self.gaps) - {2, 3, 4, 6}
        if unknown:
            raise UsageError(f"'gaps' in {where} are of 2, 3, 4 and 6 frames, not {min(unknown)}.")

    def files(self, data: Path) -> list[Path]:
        """The clips."""
        root = self.root(data)
        if not root.is_dir():
            raise InputError(f"There is no folder {root}: clips are expected in it.")
        found = [path for path in sorted(root.iterdir()) if path.suffix.lower() in VIDEOS and path.is_file()]
        if not found:
            raise InputError(f"{root} holds no clip: expected videos ({', '.join(VIDEOS)}) in it.")
        missing = sorted({*self.exclude, *self.clips} - {path.stem for path in found})
        if missing:
            raise InputError(f"{root} holds no clip '{missing[0]}', which the recipe names.")
        return [path for path in found if path.stem not in self.exclude]

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """See `DataEntry`."""
        return RealTriplets(cache / self.path, self.clips, self.times, self.gaps, self.exclude)


@dataclass(frozen=True)
class SyntheticEntry(DataEntry):
    """Synthetic motion (`training.synthetic`) of photographs and of frames of clips.

    Frames are taken of the clips of the entry of kind "clips" that has the same path, if there is one.

    Attributes:
        pictures: Folder of photographs, relative to `path`.
        shards: How many shards of 512 scenes are made ahead; 0 makes every scene when it is drawn.
        size: Side of the scenes that are made ahead, pixels: at least the crop with its margin.
        scenes: What they are like.
    """

    kind = "synthetic"

    pictures: str = "photos"
    shards: int = 24
    size: int = 192
    scenes: SceneRules = field(default_factory=SceneRules)

    def __post_init__(self) -> None:
        if self.shards < 0 or self.size < 32:
            raise UsageError("Synthetic [[data]] takes shards of 0 or more, and a size of 32 pixels or more.")

    def bank(self, cache: Path) -> Path:
        """Where the scenes lie: in a folder of their own for each size and set of rules.

        One that is called plainly `synthetic` was made before there were rules; it serves every recipe that takes
        scenes of 192 pixels with 0 < t < 1.
        """
        first = cache / self.path / "synthetic"
        if self.size == 192 and self.scenes.times != "next" and has_shard(first, 0):
            return first
        said = json.dumps([self.size, asdict(self.scenes)])
        return cache / self.path / f"synthetic-{zlib.crc32(said.encode()):08x}"

    def textures(self, data: Path, cache: Path, entries: Sequence[DataEntry]) -> list[Image]:
        """Photographs, and a few frames of every clip: three, and more of the long ones."""
        folder = self.root(data) / self.pictures
        paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        result = []
        for path in paths:
            photo = cv2.imread(str(path))
            if photo is None:
                raise InputError(f"{path} is damaged: it cannot be read as a picture.")
            result.append(np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), np.uint8))
        for entry in entries:
            if isinstance(entry, ClipsEntry) and entry.path == self.path:
                for clip in entry.files(data):
                    frames = load_array(cache / self.path / "clips" / f"{clip.stem}.npy", mapped=True)
                    places = np.linspace(0, len(frames) - 1, max(3, len(frames) // 400), dtype=int)
                    result += [np.array(frames[i]) for i in places]
        if not result:
            raise InputError(f"{folder} holds no photograph, and no clips lie beside it: nothing to make scenes of.")
        return result

    def open(self, data: Path, cache: Path, entries: Sequence[DataEntry] = ()) -> SampleSource:
        """See `DataEntry`."""
        if self.shards == 0:
            return SyntheticScenes(self.textures(data, cache, entries), self.scenes)
        times = self.scenes.times
        return SyntheticBank(self.bank(cache), times)


KINDS: dict[str, type[DataEntry]] = {
    kind.kind: kind
    for kind in (VimeoTripletEntry, VimeoSeptupletEntry, XTrainEntry, GoProEntry, ClipsEntry, SyntheticEntry)
}
"""By the `kind` of an entry."""


def read_entries(tables: Sequence[Mapping[str, Any]], where: str) -> list[DataEntry]:
    """The [[data]] entries of a recipe, `where` being its name for messages; nothing is looked for yet.

    Raises:
        UsageError: if there is none, a kind or setting is unknown, or a value does not fit.
    """
    if not tables:
        raise UsageError(f"{where} has no [[data]]: a run has to learn from something.")
    entries = []
    for table in tables:
        settings = dict(table)
        kind = settings.pop("kind", None)
        if not isinstance(kind, str) or kind not in KINDS:
            raise UsageError(f"[[data]] of {where} takes kind = one of {', '.join(KINDS)}, not {kind!r}.")
        place = f"[[data]] of kind {kind} in {where}"
        weight = settings.get("weight", 1.0)
        if isinstance(weight, int | float) and not isinstance(weight, bool):
            settings["weight"] = {"first": weight}
        entries.append(parse_table(KINDS[kind], settings, place))
    return entries


def open_mix(entries: Sequence[DataEntry], data: Path, cache: Path) -> SampleMix:
    """The sources of a recipe's entries as one.

    Raises:
        InputError: if data is missing, empty or incomplete, or not prepared.
    """
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}: give the one that holds what the recipe names as --data.")
    return SampleMix([(entry.open(data, cache, entries), entry.weight) for entry in entries])
