"""Saves what a model computed for the frames of a data set: flows, fusion masks and routes.

SAMPLE.flow_t0.flo   a flow at the frame's size, in Middlebury's format (Baker et al., IJCV 2011)
SAMPLE.flow_t0.png   the same in Middlebury's colours
SAMPLE.mask.png      a fusion mask: white where the first frame is used
SAMPLE.routes_1.png  of APR-VFI: white where a patch passed block 1
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.files import write_atomically, write_error
from betwixt.models.maps import IntermediateMap, Maps
from betwixt.runtime.intermediate_maps import select_maps
from betwixt.runtime.map_images import map_to_image

_FLO_MAGIC = np.float32(202021.25)


def encode_flo(flow: NDArray[np.float32]) -> bytes:
    """A flow (h, w, 2) in Middlebury's format: a magic number, width, height, and the values row by row."""
    height, width = flow.shape[:2]
    header = _FLO_MAGIC.astype("<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    values: bytes = np.ascontiguousarray(flow, "<f4").tobytes()
    return bytes(header) + values


class MapSaver:
    """Saves maps of synthesized frames.

    Args:
        folders: The folder of each group of maps: "flow", "mask", "routes".

    Raises:
        OutputError: if a folder cannot be made.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        for folder in folders.values():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(error, folder) from None

    def save(self, stem: str, maps: Maps, model: str, size: tuple[int, int]) -> None:
        """Save the maps of one frame.

        Args:
            stem: What the names of the files begin with.
            maps: All maps of the model.
            model: The model's name.
            size: Height and width of the frame.

        Raises:
            UsageError: if the model has no map of a group.
        """
        for group, folder in self.folders.items():
            for name, map_ in select_maps(maps, [group], model).items():
                if map_.unit:
                    continue  # an estimate of one level, in pixels of that level
                if map_.kind == "flow":
                    map_ = _at_size(map_, size)
                    write_atomically(folder / f"{stem}.{name}.flo", encode_flo(map_.values))
                image = cv2.cvtColor(map_to_image(map_), cv2.COLOR_RGB2BGR)
                write_atomically(folder / f"{stem}.{name}.png", cv2.imencode(".png", image)[1].tobytes())


def check_single_run(folders: Mapping[str, Path], runs: int) -> None:
    """Refuse folders of maps where several models or data sets would write to them.

    Args:
        folders: The folder of each group of maps.
        runs: The number of models times that of data sets.

    Raises:
        UsageError: if there are folders and several runs.
    """
    if folders and runs > 1:
        raise UsageError("`save_flows`, `save_masks` and `save_routes` are for one model and one data set at a time.")


def _at_size(map_: IntermediateMap, size: tuple[int, int]) -> IntermediateMap:
    """A flow, whose values are in pixels of the frame, at the size of the frame."""
    height, width = size
    if map_.values.shape[:2] == (height, width):
        return map_
    values = cv2.resize(map_.values, (width, height), interpolation=cv2.INTER_LINEAR)
    return IntermediateMap(map_.kind, np.asarray(values, np.float32))
