"""The B-frame codec: rate and distortion weighed by the quantizer's step (NCM, equation 9).

    prepare   step, drawn; frames 0 and 1 as a base codec of that step gives them; what the searches find in them
    loss      mean of  w (lambda · MSE(truth, frame) + R_F + R_x)  +  lambda · (a MSE(truth, taught) + b MSE(truth, ..))

    lambda    64 / step², in bits a pixel for a unit of mean squared error of samples in [0, 1]
    w         step / (64/255): fine steps cost many times the bits of coarse ones, and must not drown them

The frames that a B frame is made from have been through a codec, so these are coded too (H.264, by a quantizer that
leaves about the error that the network's own step leaves). The teacher block learns from how well its motion warps, as
in RIFE; likewise the compressed motion, a little.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from betwixt.codec.network import LAMBDA, BFrameNetwork, CodecConfig, step_code, step_from_code
from betwixt.errors import UsageError
from betwixt.models.network import Network, Synthesis
from betwixt.tables import parse_table
from betwixt.training.objectives.base import Batch, LossTerms, Objective, full_precision
from betwixt.weights.load import load_weights
from betwixt.weights.store import embedded_file

if TYPE_CHECKING:
    from betwixt.training.sources import TrainingSample

__all__ = ["CodecObjective", "CodecSettings", "code_references"]


@dataclass(frozen=True)
class CodecSettings:
    """Options of [network].

    Attributes:
        predictor: The interpolation network: "compact" (with its shipped weights), "rife" or "ncm-base" (learning too,
            or from `predictor_weights`).
        predictor_weights: A file of weights, the teacher block included.
        margin: Pixels around the crop that the searches see and the network does not.
        finest: The finest step of the quantizer, of samples in [0, 255];
        coarsest: and the coarsest; steps are drawn between them, evenly in octaves.
        teacher_weight: Of the teacher's frame.
        motion_weight: Of the frame by the compressed motion.
    """

    predictor: str = "compact"
    predictor_weights: str | None = None
    margin: int = 32
    finest: float = 20.0
    coarsest: float = 140.0
    teacher_weight: float = 0.1
    motion_weight: float = 0.1


class _Unaided(Network):
    """The prediction that costs no bits, as a network that interpolates."""

    multiple = 32

    def __init__(self, codec: BFrameNetwork) -> None:
        super().__init__()
        # Not a submodule: its parameters are the codec's.
        object.__setattr__(self, "codec", codec)
        self.any_time = codec.predictor.any_time

    def pair(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """The frames."""
        return frame0, frame1

    def at(self, pair: tuple[Tensor, Tensor], t: Tensor) -> Synthesis:
        """Frame t, from what the search finds in the first of the batch."""
        codec: BFrameNetwork = self.__dict__["codec"]
        frame0, frame1 = pair
        images = torch.stack((frame0, frame1), dim=1).clamp(0, 1).mul(255).round().byte()
        found = [codec.predictor.hints(p.permute(0, 2, 3, 1).cpu().numpy(), float(t.flatten()[0])) for p in images]
        hints = {
            name: torch.from_numpy(np.stack([f[name] for f in found])).permute(0, 3, 1, 2).float().to(frame0.device)
            for name in found[0]
        }
        motion = codec.predictor.predict(frame0, frame1, t, hints)
        return Synthesis(motion.frame(frame0, frame1), motion.flow[:, :2], motion.flow[:, 2:])


class CodecObjective(Objective):
    """`betwixt.codec.network.BFrameNetwork` in training."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = parse_table(CodecSettings, options, "[network]")
        self.margin = self.settings.margin
        self.codec = BFrameNetwork(CodecConfig(predictor=self.settings.predictor))
        network: Any = self.codec.predictor.network
        if next(network.parameters()).is_meta:
            pass  # counted, not trained
        elif self.settings.predictor == "compact":
            load_weights(network, embedded_file("compact.safetensors"))
        elif self.settings.predictor_weights is not None:
            load_weights(network, Path(self.settings.predictor_weights))
        self._finds = self.settings.predictor == "compact"
        self.times = "between" if self.codec.predictor.any_time else "middle"

    @property
    def network(self) -> Network:
        """What is validated: the prediction without bits. How well it codes, `betwixt rd-curve` says."""
        return _Unaided(self.codec)

    @property
    def exported_module(self) -> BFrameNetwork:
        """The codec."""
        return self.codec

    def finish(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights, and the tables that coding reads probabilities from."""
        from betwixt.codec.coder import finish_weights

        self.codec.load_state_dict(tensors)
        return finish_weights(self.codec)

    @property
    def model_name(self) -> str:
        """What its weights are called; `--codec-weights` takes them."""
        return "codec-b"

    def prepare(self, rng: np.random.Generator, sample: TrainingSample) -> dict[str, NDArray[Any]]:
        """The step, the coded frames "coded" (S, S, 6) in [0, 1], and what the searches find."""
        s = self.settings
        if not (0.0 < sample.t < 1.0) or (self.times == "middle" and sample.t != 0.5):
            raise UsageError(
                f"The codec with the predictor {s.predictor} learns "
                f"{'t = 1/2' if self.times == 'middle' else 'frames in between'}, but the data has t = {sample.t:g}: "
                "choose other data, or other times of the data, in [[data]]."
            )
        step = step_from_code(step_code(float(np.exp(rng.uniform(math.log(s.finest), math.log(s.coarsest)))) / 255.0))
        # H.264 leaves as large an error with a step of two fifths.
        coded = code_references(sample.images[[0, 2]], 0.4 * 255.0 * step * 2.0 ** float(rng.uniform(-0.6, 0.2)))
        extra: dict[str, NDArray[Any]] = {
            "step": np.array([step], np.float32),
            "coded": np.concatenate(list(coded), axis=2).astype(np.float32) / np.float32(255),
        }
        if self._finds:
            from betwixt.codec.network import search_true_flow
            from betwixt.models.compact.config import search

            found, logit = search(coded[0], coded[1], sample.t)
            true = search_true_flow(np.stack([coded[0], sample.images[1], coded[1]]))
            extra |= {"found": found, "logit": logit, "true": true}
        return extra

    def loss(self, batch: Batch, done: float) -> LossTerms:
        """See the module."""
        extra = batch.extra
        step = extra["step"].reshape(-1, 1, 1, 1)
        frame0, frame1 = extra["coded"].chunk(2, dim=1)
        hints = {name: extra[name] for name in ("found", "logit", "true") if name in extra}
        with full_precision(batch.frame0):
            out = self.codec(frame0, frame1, batch.t, batch.truth, hints, step)
            pixels = float(batch.truth[0, 0].numel())
            value = LAMBDA / step.flatten() ** 2
            weight = step.flatten() * (255.0 / 64.0)

            def error(frame: Tensor) -> Tensor:
                return ((frame - batch.truth) ** 2).flatten(1).mean(dim=1)

            rate_motion, rate_frame = out.motion_bits / pixels, out.frame_bits / pixels
            distortion = error(out.frame)
            helpers = self.settings.teacher_weight * error(out.taught)
            helpers = helpers + self.settings.motion_weight * error(out.compensated)
            if not self._finds:  # the predictor learns along
                helpers = helpers + self.settings.motion_weight * error(out.predicted)
            total = (weight * (value * (distortion + helpers) + rate_motion + rate_frame)).mean()
            decibels = {
                "frame": distortion,
                "unaided": error(out.predicted),
                "taught": error(out.taught),
                "moved": error(out.compensated),
            }
            parts = {f"{name} dB": -10.0 * torch.log10(e.clamp(min=1e-10)).mean() for name, e in decibels.items()}
            parts |= {"motion bpp": rate_motion.mean(), "frame bpp": rate_frame.mean()}
            parts["cost"] = (value * distortion + rate_motion + rate_frame).mean()
        return LossTerms(total, {name: value.detach() for name, value in parts.items()})


def code_references(images: NDArray[np.uint8], step: float) -> NDArray[np.uint8]:
    """Two successive pictures (2, S, S, 3) as H.264 gives them, with a quantizer's step of samples in [0, 255]."""
    size = images.shape[1]
    even = size + size % 2
    quantizer = min(51, max(1, round(4 + 6 * math.log2(step))))
    file = io.BytesIO()
    with av.open(file, "w", format="nut") as out:
        options = {"preset": "veryfast", "qp": str(quantizer), "bf": "0", "threads": "1", "tune": "zerolatency"}
        stream: Any = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = even, even, "yuv420p"
        for image in images:
            whole = np.pad(image, ((0, even - size), (0, even - size), (0, 0)), mode="edge")
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(whole), format="rgb24")))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        decoded = [frame.to_ndarray(format="rgb24")[:size, :size] for frame in container.decode(video=0)]
    return np.stack(decoded)
