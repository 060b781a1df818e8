"""NCM: progressive training, with a teacher for interpolation and without one for extrapolation.

    stage "coarse"   frames of 256x256 ──► coarse-scale module ──► merged frame ──► loss
    stage "fine"     frames ──► 1/4, 1/2 or 1 of their size ──► coarse-scale module, frozen ──► flow
                     frames, flow ──► fine-scale module ──► synthesis network ──► frame t ──► loss

The loss of both (equation 8) is L = L_rec + L_rec^Tea + 0.01 L_dis, with the Laplacian L1 as L_rec; for extrapolation
it is L_rec alone (appendix A.3: distillation "leads to collapse"), on frames at t = 2. Without progressive training
(table 3) everything is trained at once, in the stage "all".

In the paper, the size of the coarse-scale module's frames is "randomly" 64, 128 or 256 for each batch of 256. Here it
is that of the first sample of a batch, which depends only on the seed and the number of that sample: a resumed run
makes the same choices.

What the paper leaves open: L_rec of stage "coarse" is on the merged frame, since the synthesis network belongs to stage
"fine"; the teacher block is trained in both stages; the pyramid has five levels, as for RIFE. See
`betwixt.models.ncm.network` for the rest.

Reference: Jia, Lu, Li: Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, sections 3.4
and 3.5, appendix A.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.layers.resize import resize_to
from betwixt.models.augmented import TestTimeAugmented
from betwixt.models.ncm.network import DISTILLATION_WEIGHT, NCM, NCM_BASE, NCM_LARGE, NCMDistillation
from betwixt.models.network import Network
from betwixt.tables import parse_table
from betwixt.training.losses import laplacian
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, distillation_terms, weighted_sum, without_training_parts
from betwixt.training.sample import TrainingSample

_DOWNSCALING = (4, 2, 1)
"""Factors by which stage "fine" downscales the frames of the coarse-scale module: 256 to 64, to 128, or not."""


@dataclass(frozen=True)
class NCMSettings:
    """Settings in [network]; all but the first are the ablations of tables 3 and 4, see `NCMConfig`."""

    distillation: float = DISTILLATION_WEIGHT  # weight of the distillation loss, lambda_d; 0 for no teacher
    image_feature: bool = True  # whether matching uses image features
    motion_feature: bool = True  # whether matching uses motion features
    flow_guided: bool = False  # whether matching follows the flow
    heterogeneous: bool = True  # whether the coarse and the fine scale have modules of their own
    progressive: bool = True  # whether training has two stages


class NCMObjective(PaperObjective):
    """NCM in training, for extrapolation if the name ends in "-next"; the options are `NCMSettings`."""

    training_network: NCM

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        extrapolation = name.endswith("-next")
        super().__init__(name, "next" if extrapolation else "middle")
        self.settings = settings = parse_table(NCMSettings, options, f"[network] of {name}")
        try:
            config = replace(
                NCM_LARGE if name.startswith("ncm-large") else NCM_BASE,
                **{key: value for key, value in asdict(settings).items() if key != "distillation"},
            )
        except ValueError as error:
            raise UsageError(f"[network] of {name} is not valid: {error}") from None
        self.stages = ("coarse", "fine") if settings.progressive else ("all",)
        self.stage, self.merges_stages = self.stages[0], not settings.progressive
        # A teacher without distillation would train the student as well, by its reconstruction loss.
        teacher = settings.distillation > 0
        self.training_network = NCM(replace(config, extrapolation=extrapolation, teacher=teacher))

    @property
    def network(self) -> Network:
        """The student; the large one with test-time augmentation, as it is used."""
        config = replace(self.training_network.config, teacher=False)
        student = without_training_parts(self.training_network, teacher=None, config=config)
        return TestTimeAugmented(student) if config.double_resolution else student

    @property
    def crop_multiple(self) -> int:
        """64: stage "fine" downscales crops by up to 4, and the coarse-scale module needs multiples of 16."""
        return 64

    def begin_stage(self, stage: str) -> None:
        """Stage "coarse" trains the coarse-scale module, "fine" everything else, "all" everything."""
        self.stage = stage
        network = self.training_network
        network.coarse_scale.requires_grad_(stage in ("coarse", "all"))
        for part in (network.fine_scale, network.contextnet, network.unet):
            part.requires_grad_(stage in ("fine", "all"))

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Draw the downscaling of the coarse-scale module's frames; that of the first sample of a batch is used."""
        super().prepare(rng, sample)
        return {"shrink": rng.choice(np.array(_DOWNSCALING, np.int64))}

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """Equation 8; for extrapolation only its first term."""
        frames = batch.frame0, batch.frame1, batch.t
        if self.training_network.teacher is None:
            frame = self._predict(batch)
            with full_precision(batch.truth):
                return weighted_sum({"reconstruction": laplacian(frame.float(), batch.truth)})
        output: NCMDistillation
        if self.stage == "coarse":
            output = self.training_network.distil_coarse(*frames, batch.truth)
        else:
            output = self.training_network.distil(*frames, batch.truth, self._coarse_size(batch))
        with full_precision(batch.truth):
            terms = distillation_terms(output.frame, output, batch.truth)
        return weighted_sum(terms, {"distillation": self.settings.distillation})

    def _predict(self, batch: Batch) -> Tensor:
        """The frame that L_rec compares with the truth, of a network without a teacher."""
        network = self.training_network
        if self.stage == "coarse":
            return network.coarse(batch.frame0, batch.frame1, batch.t)[-1].merged
        if self.stage == "all":
            frame: Tensor = network(batch.frame0, batch.frame1, batch.t).frame
            return frame
        size = self._coarse_size(batch)
        assert size is not None
        small0, small1 = (resize_to(frame, size, antialias=True) for frame in (batch.frame0, batch.frame1))
        with torch.no_grad():
            start = network.coarse(small0, small1, batch.t)[-1]
        return network.fine(batch.frame0, batch.frame1, batch.t, start).frame

    def _coarse_size(self, batch: Batch) -> tuple[int, int] | None:
        """Height and width of the coarse-scale module's frames; None: the network decides."""
        if self.stage != "fine":
            return None
        height, width = batch.frame0.shape[-2:]
        factor = int(batch.extra["shrink"].flatten()[0])
        return height // factor, width // factor
