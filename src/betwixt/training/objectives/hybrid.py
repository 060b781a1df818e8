"""hybrid: fusion of two motions, that of the optical flow search (A) and that of RIFE 4.6 (B).

    prepare   optical flow search on the sample's images ──► motion A;  RIFE 4.6 on them ──► motion B
    loss      as for compact: reconstruction, fidelity, and the flow loss of both motions where the motion is known

The search and RIFE see a margin around the crop. RIFE 4.6 is frozen. The layers that process motion A start from the
weights of `compact` that ship with Betwixt.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from betwixt.backends.backend import Backend
from betwixt.backends.network_runner import TrainedNetwork
from betwixt.models.frame_view import Image
from betwixt.models.hybrid.config import CONFIGS, HybridConfig, rife_size
from betwixt.models.hybrid.interpolator import HybridInterpolator, RIFEMotion, estimate_motion
from betwixt.models.hybrid.network import Fusion, FusionOutput, HybridNetwork, init_from_compact
from betwixt.runtime.load import trained_network
from betwixt.tables import parse_table
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.training.objectives.compact import RefinementSettings, flow_loss, refinement_loss, search_sample
from betwixt.training.sample import TrainingSample
from betwixt.weights.load import read_tensors
from betwixt.weights.store import embedded_file


class HybridObjective(Objective):
    """hybrid in training; the options are `RefinementSettings`."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.settings = parse_table(RefinementSettings, options, f"[network] of {name}")
        self.margin = self.settings.margin
        self.config: HybridConfig = CONFIGS[name]
        self.training_network = Fusion(self.config)
        if not next(self.training_network.parameters()).is_meta:
            init_from_compact(self.training_network, read_tensors(embedded_file("compact.safetensors")))

    @property
    def network(self) -> HybridNetwork:
        """The fusion networks with a RIFE without weights; `interpolator` adds RIFE's motion and that of the search."""
        with torch.device("meta"):
            return HybridNetwork(fusion=self.training_network)

    @property
    def exported_module(self) -> nn.Module:
        return self.training_network

    def interpolator(self, device: str = "auto") -> HybridInterpolator:
        network = TrainedNetwork.in_memory(self.training_network)
        return HybridInterpolator(network, trained_network("rife-4.6"), network.choose_backend(device), self.model_name)

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Motion A, `first`, and motion B, `second`: (S, S, 5) each, F_{t->0}, F_{t->1} and the logit of frame 0."""
        motion, logit = search_sample(rng, sample, self.config.search_effort)
        t = np.float32(sample.t)
        first = np.concatenate((-t * motion, (1 - t) * motion, logit), axis=-1)
        frame0, frame1 = (sample.images[i].astype(np.float32) / np.float32(255) for i in (0, 2))
        second = self._find_second(frame0, frame1, sample.t)
        return {"first": first, "second": np.moveaxis(second, 0, 2)}

    def _find_second(self, frame0: Image, frame1: Image, t: float) -> NDArray[np.float32]:
        """Motion B, (5, S, S)."""
        h, w = frame0.shape[:2]
        images = []
        for scale in self.config.rife_scales:
            height, width = rife_size(h, w, scale)
            resized = (cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in (frame0, frame1))
            images.append([np.asarray(image, np.float32) for image in resized])
        return estimate_motion(_load_rife(self.config.symmetric_blocks), images, t, (h, w))

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        extra = batch.extra
        output: FusionOutput = self.training_network(
            batch.frame0, batch.frame1, batch.t, extra["first"], extra["second"]
        )
        with full_precision(batch.frame0):
            flow_losses = [
                flow_loss([(motion[:, 0:2], motion[:, 2:4]) for motion in stages], batch)
                for stages in zip(output.coarse, output.motions, strict=True)
            ]
            flow = torch.stack([loss for loss, _ in flow_losses]).mean()
            errors = {f"end-point error, {name}": error for name, (_, error) in zip("AB", flow_losses, strict=True)}
            return refinement_loss(output.frame.float(), batch.truth, flow, self.settings, errors)


@cache
def _load_rife(symmetric_blocks: int) -> RIFEMotion:
    """RIFE with its shipped weights, once per process, since workers do not have the values of the parameters.

    In PyTorch on the CPU in float32, which gives the same values on every machine, with a worker's number of threads.
    """
    return RIFEMotion(trained_network("rife-4.6"), symmetric_blocks, Backend())
