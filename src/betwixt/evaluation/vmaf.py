"""VMAF, Netflix's perceptual score of video quality (0 to 100), by the package vmaf-torch.

The model is libvmaf's default, vmaf_v0.6.1, made for 1080p on a television at three times its height; its parameters
are part of the package. The motion that it weighs comes from the true frames around the new one. vmaf-torch agrees
with libvmaf to about 0.01.

Reference: Li et al., Toward a practical perceptual video quality metric, Netflix technology blog 2016; Aistov and
Koroteev, VMAF re-implementation on PyTorch, arXiv:2310.15578.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.machine import import_library


class VMAF:
    """Scores sequences of frames.

    Raises:
        UsageError: if vmaf-torch is not installed.
    """

    def __init__(self) -> None:
        import_library("torch", "The metric vmaf", "vmaf")
        self._model = import_library("vmaf_torch", "The metric vmaf", "vmaf", "vmaf-torch").VMAF(clip_score=True)

    def score(
        self, predictions: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.uint8]], new: slice
    ) -> list[float]:
        """The scores of the frames `new` of a sequence.

        `predictions` and `truths` are frames at the same times, (H, W, 3), uint8 RGB.

        Raises:
            UsageError: if a side is shorter than 32 pixels.
        """
        import torch

        height, width = truths[0].shape[:2]
        if min(height, width) < 32:
            raise UsageError(f"vmaf needs images of at least 32 pixels a side: these have {width}x{height}.")
        reference = torch.from_numpy(np.stack([_luma(image) for image in truths]))[:, None]
        test = torch.from_numpy(np.stack([_luma(image) for image in predictions[new]]))[:, None]
        with torch.inference_mode():
            scores = self._model.predict(
                self._model.compute_adm_score(reference[new], test),
                self._model.compute_motion2(reference)[new],
                self._model.compute_vif_features(reference[new], test),
            )
        return [float(score) for score in scores]


def _luma(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The luma of an image as video has it: (H, W), whole numbers from 16 to 235."""
    grey = cv2.cvtColor(np.ascontiguousarray(image, np.float32), cv2.COLOR_RGB2GRAY)
    return np.asarray(np.rint(16 + grey * np.float32(219 / 255)), np.float32)
