"""The B-frame codec: rate and distortion, weighted by the quantizer step (NCM, equation 9).

    prepare   quantizer step, drawn at random; frames 0 and 1 coded by a base codec at about that quality; optical flow
              search on the coded frames
    loss      mean of  w (lambda · MSE(frame) + R_F + R_x)  +  w lambda · (a MSE(teacher) + b MSE(compressed motion))

    lambda    64 / step², in bits per pixel for a unit of mean squared error of samples in [0, 1]
    w         step / (64/255): fine steps cost many times the bits of coarse ones and would dominate the loss

The reference frames of a B frame are decoded frames, so those of the samples are coded, too (H.264, with a quantizer
that gives about the error of the network's own step). The teacher block is supervised by its warped frame, as in RIFE,
and the compressed motion by its warped frame, with small weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.codec.coder import finish_weights
from betwixt.codec.network import LAMBDA, BFrameNetwork, CodecConfig, code_from_step, search_true_flow, step_from_code
from betwixt.errors import UsageError
from betwixt.models.compact.initial_motion import search_motion
from betwixt.models.network import Network, Synthesis
from betwixt.tables import parse_table
from betwixt.training.augmentation import code_as_video
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.training.sample import TargetTimes, TrainingSample, time_matches
from betwixt.weights.load import load_weights
from betwixt.weights.store import embedded_file

_ENTROPY_PARTS = ("look", "look_warped", "motion_model", "model")
"""The parts of the network that only probabilities depend on."""


@dataclass(frozen=True)
class CodecSettings:
    """Settings in [network].

    Attributes:
        predictor: The interpolation network: "compact" (with its shipped weights, frozen), or "rife" or "ncm-base"
            (trained with the codec, from random weights or from `predictor_weights`).
        predictor_weights: A weights file, with the teacher block.
        margin: Pixels around the crop that the optical flow search sees and the network does not.
        finest: The finest quantizer step, of samples in [0, 255].
        coarsest: The coarsest quantizer step; steps are log-uniform between the two.
        teacher_weight: Weight of the error of the teacher's frame.
        motion_weight: Weight of the error of the frame warped by the compressed motion.
        contexts: Whether entropy models see contexts, the two frames warped to frame t.
        trained: "all", or "entropy" for the entropy models alone; the frames that are coded then hardly change.
    """

    predictor: str = "compact"
    predictor_weights: str | None = None
    margin: int = 32
    finest: float = 20.0
    coarsest: float = 140.0
    teacher_weight: float = 0.1
    motion_weight: float = 0.1
    contexts: bool = True
    trained: Literal["all", "entropy"] = "all"


class _Prediction(Network):
    """The codec's prediction without any bits, as an interpolation network."""

    multiple = 32

    def __init__(self, codec: BFrameNetwork) -> None:
        super().__init__()
        # Not a submodule: its parameters are the codec's.
        object.__setattr__(self, "codec", codec)
        self.any_time = codec.predictor.any_time

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """The frames themselves."""
        return frame0, frame1

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        """Predict frame t; all samples of the batch have the same t."""
        codec: BFrameNetwork = self.__dict__["codec"]
        frame0, frame1 = pair
        images = torch.stack((frame0, frame1), dim=1).clamp(0, 1).mul(255).round().byte()
        maps = [codec.predictor.search(p.permute(0, 2, 3, 1).cpu().numpy(), float(t.flatten()[0])) for p in images]
        searched = {
            name: torch.from_numpy(np.stack([m[name] for m in maps])).permute(0, 3, 1, 2).float().to(frame0.device)
            for name in maps[0]
        }
        motion = codec.predictor.predict(frame0, frame1, t, searched)
        return Synthesis(motion.synthesize(frame0, frame1), motion.flow[:, :2], motion.flow[:, 2:])


class CodecObjective(Objective):
    """The B-frame codec in training; the options are `CodecSettings`. Its weights are called codec-b."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__("codec-b")
        self.settings = parse_table(CodecSettings, options, f"[network] of {name}")
        self.margin = self.settings.margin
        self.codec = BFrameNetwork(CodecConfig(self.settings.predictor, entropy_contexts=self.settings.contexts))
        if self.settings.trained == "entropy":
            for parameter_name, parameter in self.codec.named_parameters():
                parameter.requires_grad_(parameter_name.split(".")[0] in _ENTROPY_PARTS)
        self._uses_search = self.settings.predictor == "compact"
        network: Any = self.codec.predictor.network
        weights = embedded_file("compact.safetensors") if self._uses_search else self.settings.predictor_weights
        if weights is not None and not next(network.parameters()).is_meta:
            load_weights(network, Path(weights))
        self.times: TargetTimes = "between" if self.codec.predictor.any_time else "middle"

    @property
    def network(self) -> Network:
        """The prediction without bits. The quality at a given rate is measured by `betwixt rd-curve`."""
        return _Prediction(self.codec)

    @property
    def exported_module(self) -> BFrameNetwork:
        return self.codec

    def export_tensors(self, averaged: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights, and the tables from which entropy coding reads its probabilities."""
        self.codec.load_state_dict(averaged)
        return finish_weights(self.codec)

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """Draw the quantizer step, code the frames and search for motion.

        Returns:
            "step": (1,), for samples in [0, 1]. "coded": both coded frames (S, S, 6) in [0, 1]. With the predictor
            "compact" also "motion", "logit" and "true_flow", the results of the searches.
        """
        s = self.settings
        if not time_matches(self.times, sample.t):
            needed = "t = 1/2" if self.times == "middle" else "frames in between"
            raise UsageError(
                f"The codec with the predictor {s.predictor} is trained on {needed}, but the data has t = "
                f"{sample.t:g}: choose other data, or other 'times', in [[data]]."
            )
        # Only the steps that a file can store.
        step = float(np.exp(rng.uniform(math.log(s.finest), math.log(s.coarsest)))) / 255.0
        step = step_from_code(code_from_step(step))
        # H.264 has about the same error at two fifths of the step.
        coded = code_references(sample.images[[0, 2]], 0.4 * 255.0 * step * 2.0 ** float(rng.uniform(-0.6, 0.2)))
        extra: dict[str, NDArray[Any]] = {
            "step": np.array([step], np.float32),
            "coded": np.concatenate(list(coded), axis=2).astype(np.float32) / np.float32(255),
        }
        if self._uses_search:
            motion, logit = search_motion(coded[0], coded[1], sample.t)
            true_flow = search_true_flow(np.stack([coded[0], sample.images[1], coded[1]]))
            extra |= {"motion": motion, "logit": logit, "true_flow": true_flow}
        return extra

    def loss(self, batch: Batch, progress: float) -> LossTerms:
        """The module's loss; the terms for the log are in dB and bits per pixel."""
        extra = batch.extra
        step = extra["step"].reshape(-1, 1, 1, 1)
        frame0, frame1 = extra["coded"].chunk(2, dim=1)
        searched = {name: extra[name] for name in ("motion", "logit", "true_flow") if name in extra}
        with full_precision(batch.frame0):
            out = self.codec(frame0, frame1, batch.t, batch.truth, searched, step)
            pixels = float(batch.truth[0, 0].numel())
            lambda_ = LAMBDA / step.flatten() ** 2
            weight = step.flatten() * (255.0 / 64.0)
            rate_motion, rate_frame = out.motion_bits / pixels, out.frame_bits / pixels
            frames = {
                "frame": out.frame,
                "prediction": out.predicted,
                "teacher": out.taught,
                "compressed motion": out.compensated,
            }
            errors = {name: ((frame - batch.truth) ** 2).flatten(1).mean(dim=1) for name, frame in frames.items()}
            distortion = errors["frame"]
            auxiliary = self.settings.teacher_weight * errors["teacher"]
            auxiliary = auxiliary + self.settings.motion_weight * errors["compressed motion"]
            if not self._uses_search:  # the predictor is trained, too
                auxiliary = auxiliary + self.settings.motion_weight * errors["prediction"]
            total = (weight * (lambda_ * (distortion + auxiliary) + rate_motion + rate_frame)).mean()
            terms = {f"{name} dB": -10.0 * torch.log10(e.clamp(min=1e-10)).mean() for name, e in errors.items()}
            terms |= {"motion bpp": rate_motion.mean(), "frame bpp": rate_frame.mean()}
            terms["cost"] = (lambda_ * distortion + rate_motion + rate_frame).mean()
        return LossTerms(total, {name: value.detach() for name, value in terms.items()})


def code_references(images: NDArray[np.uint8], step: float) -> NDArray[np.uint8]:
    """Encode and decode two successive images (2, S, S, 3) with H.264; `step` is its quantizer step, for [0, 255]."""
    quantizer = min(51, max(1, round(4 + 6 * math.log2(step))))
    options = {"preset": "veryfast", "qp": str(quantizer), "bf": "0", "threads": "1", "tune": "zerolatency"}
    return code_as_video(images, "libx264", **options)
