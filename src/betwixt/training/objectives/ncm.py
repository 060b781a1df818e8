"""NCM: progressive learning, for interpolation with a teacher, for extrapolation without.

    stage "coarse"   frames of 256x256 ──► coarse-scale module ──► merged frame ──► loss
    stage "fine"     frames ──► 1/4, 1/2 or 1 of their size ──► coarse-scale module, fixed ──► flow
                     frames, flow ──► fine-scale module ──► synthesis network ──► frame t ──► loss

The loss of both (equation 8) is L = L_rec + L_rec^Tea + 0.01 L_dis, with the Laplacian L1 as L_rec; for extrapolation
it is L_rec alone (appendix A.3: distillation "leads to collapse"), on frames at t = 2. Without progressive learning
(table 3) all is trained at once, in the stage "all".

The size of the coarse-scale module's frames is "randomly" 64, 128 or 256 for each batch of 256. Here the first sample
of a batch says it, and it depends on the seed and that sample's number alone: a run that goes
on makes the same choices.

Where the paper is silent: L_rec of stage "coarse" compares the merged frame, since the synthesis network belongs to
stage "fine"; the teacher block learns in both stages; the pyramid has five levels, as RIFE's; see
`betwixt.models.ncm.network` for the rest.

Reference: Jia, Lu, Li: Neighbor Correspondence Matching for Flow-based Video Frame Synthesis, ACM MM 2022, sections 3.4
and 3.5, appendix A.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from betwixt.errors import UsageError
from betwixt.layers.resize import resize_to
from betwixt.models.augmented import TestTimeAugmented
from betwixt.models.ncm.network import DISTILLATION_WEIGHT, NCM, NCM_BASE, NCM_LARGE, NCMDistillation
from betwixt.models.network import Network
from betwixt.training.losses import laplacian
from betwixt.training.objectives.base import Batch, LossTerms, full_precision
from betwixt.training.objectives.common import PaperObjective, read_options, weighted_sum, without_training_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from betwixt.training.sample import TrainingSample

__all__ = ["NCMObjective"]

_SHARES = (4, 2, 1)
"""By how much stage "fine" shrinks what the coarse-scale module sees: 256 to 64, to 128, or not."""


@dataclass(frozen=True)
class NCMSettings:
    """Of [network]; the last five are the ablations of tables 3 and 4.

    Attributes:
        distillation: Weight of the distillation loss, lambda_d.
        image_feature: See `NCMConfig`; so for the others.
    """

    distillation: float = DISTILLATION_WEIGHT
    image_feature: bool = True
    motion_feature: bool = True
    flow_guided: bool = False
    heterogeneous: bool = True
    progressive: bool = True


class NCMObjective(PaperObjective):
    """NCM; see the module.

    Args:
        name: "ncm-base", "ncm-large", or either with "-next", for the frame after the two.
        options: `NCMSettings`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        settings = read_options(NCMSettings, options, name)
        plain, following = (NCM_LARGE if name.startswith("ncm-large") else NCM_BASE), name.endswith("-next")
        try:
            config = replace(
                plain,
                image_feature=settings.image_feature,
                motion_feature=settings.motion_feature,
                flow_guided=settings.flow_guided,
                heterogeneous=settings.heterogeneous,
                progressive=settings.progressive,
            )
        except ValueError as error:
            raise UsageError(f"[network] of {name} does not make a network: {error}") from None
        super().__init__(name, "next" if following else "middle")
        self.settings = settings
        self.stages = ("coarse", "fine") if settings.progressive else ("all",)
        self.stage = self.stages[0]
        self.training_network = NCM(replace(config, extrapolation=following))

    @property
    def network(self) -> Network:
        """The student; the large one as it is used, with test-time augmentation."""
        student = without_training_parts(
            self.training_network, teacher=None, config=replace(self.training_network.config, teacher=False)
        )
        return TestTimeAugmented(student) if self.training_network.config.double_resolution else student

    @property
    def cell(self) -> int:
        """The sides of a crop: stage "fine" shrinks them by 4, and the coarse-scale module takes multiples of 16."""
        return 64

    def begin_stage(self, stage: str) -> None:
        """Stage "coarse" trains the coarse-scale module, "fine" everything else, "all" everything."""
        self.stage = stage
        training_network = self.training_network
        training_network.coarse_scale.requires_grad_(stage in ("coarse", "all"))
        for part in (training_network.fine_scale, training_network.contextnet, training_network.unet):
            part.requires_grad_(stage in ("fine", "all"))

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Draw by how much the frames of the coarse-scale module are shrunk; only the first of a batch counts."""
        super().prepare(rng, sample)
        return {"shrink": rng.choice(np.array(_SHARES, np.int64))}

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """Equation 8; its first term alone for extrapolation."""
        frames = batch.frame0, batch.frame1, batch.t
        if self.training_network.teacher is None:
            frame = self._untaught(batch)
            with full_precision(batch.truth):
                return weighted_sum({"reconstruction": laplacian(frame.float(), batch.truth)})
        found: NCMDistillation
        if self.stage == "coarse":
            found = self.training_network.distil_coarse(*frames, batch.truth)
        else:
            found = self.training_network.distil(*frames, batch.truth, self._size(batch))
        with full_precision(batch.truth):
            parts = {
                "reconstruction": laplacian(found.frame.float(), batch.truth),
                "teacher": laplacian(found.teacher.merged.float(), batch.truth),
                "distillation": found.loss.float(),
            }
        return weighted_sum(parts, {"distillation": self.settings.distillation})

    def _untaught(self, batch: Batch) -> Tensor:
        """What L_rec compares with the truth, without a teacher."""
        training_network = self.training_network
        if self.stage == "coarse":
            return training_network.coarse(batch.frame0, batch.frame1, batch.t)[-1].merged
        if self.stage == "all":
            frame: Tensor = training_network(batch.frame0, batch.frame1, batch.t).frame
            return frame
        size = self._size(batch)
        assert size is not None
        small0, small1 = (resize_to(frame, size, antialias=True) for frame in (batch.frame0, batch.frame1))
        with torch.no_grad():
            start = training_network.coarse(small0, small1, batch.t)[-1]
        return training_network.fine(batch.frame0, batch.frame1, batch.t, start).frame

    def _size(self, batch: Batch) -> tuple[int, int] | None:
        """The size of the coarse-scale module's frames; None: as the network chooses."""
        if self.stage != "fine":
            return None
        height, width = batch.frame0.shape[-2:]
        shrink = int(batch.extra["shrink"].flatten()[0])
        return height // shrink, width // shrink
