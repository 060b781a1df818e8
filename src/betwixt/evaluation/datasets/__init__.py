"""The benchmarks of the papers, each read in the layout in which it is published.

    open_dataset(name, root) ──► Dataset ──► samples() ──► Sample ──► load() ──► SampleImages(first, second, truths)

To add a benchmark, derive a class from `Dataset`, yield its samples, and list it in `DATASETS`.
"""

from __future__ import annotations

from pathlib import Path

from betwixt.errors import InputError, UsageError, did_you_mean
from betwixt.evaluation.datasets import sequences, triplets, videos
from betwixt.evaluation.datasets.base import (
    IMAGE_SUFFIXES,
    Dataset,
    DatasetOptions,
    Sample,
    SampleImages,
    list_images,
    read_image,
    read_list_file,
)
from betwixt.evaluation.datasets.sequences import X4K1000FPSExtrapolation
from betwixt.evaluation.datasets.variants import TripletExtrapolation, WithNeighbours

__all__ = [
    "DATASETS",
    "IMAGE_SUFFIXES",
    "Dataset",
    "DatasetOptions",
    "Sample",
    "SampleImages",
    "list_images",
    "open_dataset",
    "read_image",
    "read_list_file",
]

DATASETS: dict[str, type[Dataset]] = {
    dataset.name: dataset
    for dataset in (
        triplets.Vimeo90K,
        triplets.Vimeo90K480p,
        triplets.Vimeo90KSeptuplet,
        triplets.UCF101,
        triplets.Middlebury,
        triplets.SNUFilmEasy,
        triplets.SNUFilmMedium,
        triplets.SNUFilmHard,
        triplets.SNUFilmExtreme,
        sequences.X4K1000FPS,
        sequences.X4K1000FPSExtrapolation,
        sequences.Xiph2K,
        sequences.Xiph4K,
        videos.HD,
        videos.HD4x544p,
        videos.HD4x720p,
        videos.HD4x1080p,
        sequences.ConsecutiveFrames,
        triplets.Triplets,
        videos.Video,
    )
}


def open_dataset(name: str, root: Path, options: DatasetOptions | None = None) -> Dataset:
    """A data set by name.

    Raises:
        UsageError: if there is no such data set, or an option does not apply to it.
        InputError: if the root does not exist.
    """
    options = options or DatasetOptions()
    if name not in DATASETS:
        choices = f"choose from {', '.join(DATASETS)}"
        raise UsageError(f"There is no data set '{name}': {did_you_mean(name, DATASETS, choices)}")
    if options.clean and name != "ucf101":
        raise UsageError("`clean` is for ucf101: no other data set has a list of duplicate samples.")
    if options.stride != 1 and name != "frames":
        raise UsageError("`stride` is for the data set 'frames': the others have a protocol of their own.")
    if options.stride < 1:
        raise UsageError(f"`stride={options.stride}` is too small: 1 uses the direct neighbours of every frame.")
    if options.paths not in ("straight", "curved"):
        raise UsageError(f"`paths` is '{options.paths}': choose straight or curved.")
    if options.paths == "curved" and (options.extrapolate or not DATASETS[name].consecutive):
        consecutive = ", ".join(n for n, dataset in DATASETS.items() if dataset.consecutive)
        raise UsageError(
            f"`paths=curved` needs the frames around the two, for interpolation: only {consecutive} have them."
        )
    if not root.exists():
        raise InputError(f"There is no {root}: pass the folder that holds {name} as `root`.")
    if options.extrapolate and name.startswith("x4k1000fps"):
        return X4K1000FPSExtrapolation(root, options)
    dataset = DATASETS[name](root, options)
    if options.paths == "curved":
        return WithNeighbours(dataset)
    return TripletExtrapolation(dataset) if options.extrapolate else dataset
