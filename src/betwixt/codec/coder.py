"""The coder of B frames: runs the network of `betwixt.codec.network` and writes and reads its bits.

    first, second ──► predicted motion ──► ..motion bits.. ──► contexts, prediction ──► ..frame bits.. ──► planes

    payload   code of the step, a byte | range-coded symbols: z and y of the motion, z and y of the frame

Both sides compute the same things in the same order, with one thread a frame (`betwixt.codec.pairs`), so a decoder in
another process gives the encoder's reconstruction bit by bit. All four sets of symbols depend on integers alone. A
machine whose floating point differs in its last bits still reads the symbols that were written; its frames then differ
by a rounding here and there, and the checksum reports it. B frames are not references, so no difference spreads.

Rate and distortion are weighed by lambda, written `lmbda`: the bits per pixel that a unit of mean squared error, of
samples in [0, 1], may cost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from betwixt.codec.entropy import LatentEntropyModel, SymbolDecoder, SymbolEncoder, scale_indices
from betwixt.codec.exact_motion import ExactMotion, add_exact_residual, search_exact_motion, warp_exactly
from betwixt.codec.fixed_point import to_double_precision
from betwixt.codec.network import (
    BFrameMotion,
    BFrameNetwork,
    CodecConfig,
    code_from_step,
    step_feature_from_code,
    step_from_code,
)
from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import to_uint8
from betwixt.files import file_hash
from betwixt.machine import import_library
from betwixt.media.frames import frame_from_planes
from betwixt.runtime.synthesis import SourceFrame
from betwixt.weights.load import load_weights, read_tensors
from betwixt.weights.metadata import read_metadata
from betwixt.weights.store import embedded_file, find_installed

MODEL = "codec-b"
"""The name of its weights, as `betwixt weights` keeps them."""

_ROUNDING_OFFSET = 0.25
"""Added before rounding down; less than 1/2, since small values cost more bits than they gain."""

_BASE_ELASTICITY = 1.1
"""By how many percent a base codec's error falls for one percent more bits: 0.8 to 1.3 on the clips of
docs/how-to/compress.md, with x265."""

_LAMBDA_TIMES_STEP_SQUARED = 177.0
"""The network's last bits are worth their cost at a step S, of samples in [0, 1], where lambda = 177 / S²."""

_MAX_STEP = 180.0 / 255.0
"""The largest step that follows the base stream's quality: training has seen no larger ones."""

_MAX_HYPER_SYMBOL, _MAX_LATENT_SYMBOL = 1000, 30000


def load_coder(weights: str | Path | None = None) -> BFrameCoder:
    """The coder of B frames with its weights: those of a file, or of the one that comes with Betwixt or is installed.

    Raises:
        UsageError: if there are no weights, or constriction is missing.
        InputError: if the weights do not fit.
    """
    import_library("constriction", "Coding B frames", "codec")
    path = Path(weights) if weights is not None else embedded_file(f"{MODEL}.safetensors")
    if weights is None and not path.is_file():
        installed = find_installed(MODEL)
        if installed is None:
            raise UsageError(
                "There are no weights of the B-frame network: train it (betwixt train codec, docs/how-to/compress.md) "
                "and pass `codec_weights`, or use the mode bit-free."
            )
        path = installed
    if not path.is_file():
        raise InputError(f"There is no weights file {path}.")
    metadata = read_metadata(path)
    if metadata.get("model") != MODEL:
        raise InputError(f"{path} has no weights of the B-frame network: its metadata does not name the model {MODEL}.")
    try:
        predictor = str(json.loads(metadata["network"])["predictor"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not say which B-frame network it is for: its metadata lacks it.") from None
    tensors = read_tensors(path)
    network = BFrameNetwork(CodecConfig(predictor, entropy_contexts="look_warped.first.weight" in tensors))
    load_weights(network, path)
    for name, table in _probability_tables(network).items():
        if name not in tensors or tensors[name].shape != table.shape:
            raise InputError(f"{path} lacks the table {name}: export the weights by betwixt train export.")
        table.copy_(tensors[name])
    return BFrameCoder(network, file_hash(path)[:12])


def _probability_tables(network: BFrameNetwork) -> dict[str, Tensor]:
    """The integer tables of probabilities, by their names in a weights file."""
    return {
        "gaussians": network.gaussians,
        "motion_model.prior.tables": network.motion_model.prior.tables,
        "model.prior.tables": network.model.prior.tables,
    }


def finish_weights(network: BFrameNetwork) -> dict[str, Tensor]:
    """A network's weights as `load_coder` reads them: parameters in fp16, and the probability tables that follow."""
    half = {name: value.detach().cpu().half() for name, value in network.state_dict().items()}
    frozen = BFrameNetwork(network.config)
    frozen.load_state_dict({name: value.float() for name, value in half.items()})
    for model in (frozen.motion_model, frozen.model):
        model.prior.freeze()
    return {name: tensor.contiguous() for name, tensor in (half | _probability_tables(frozen)).items()}


@dataclass(frozen=True)
class _Inputs:
    """What encoder and decoder know of a frame before any bits."""

    frame0: Tensor  # the decoded frame before, (1, 3, H, W), padded
    frame1: Tensor  # the decoded frame after, (1, 3, H, W), padded
    t: Tensor  # (1, 1, 1, 1), the frame's time
    code: int  # the code of the quantizer's step
    step: Tensor  # (1, 1, 1, 1), the quantizer's step, of samples in [0, 1]
    step_feature: Tensor  # (1, 1, 1, 1), the step as entropy models see it, in double precision
    luma: Tensor  # (1, 2, H, W), both frames, padded, multiples of 1/256 in [-1/2, 1/2], in double precision
    reference: Tensor  # (1, C, H/8, W/8), the reference features, in double precision
    motion: ExactMotion | None  # by which contexts of entropy models are warped; None if they have none
    predicted: BFrameMotion  # the motion that costs no bits


class BFrameCoder:
    """Codes frames between two others.

    `network` has its weights and frozen probability tables; `weights` is their hash, which is written into files.
    """

    def __init__(self, network: BFrameNetwork, weights: str) -> None:
        self.weights = weights
        self._network = network.eval().requires_grad_(False)
        self._gaussians = network.gaussians.numpy().astype(np.int32)
        self._reference_features = to_double_precision(network.look)
        warped = network.look_warped
        self._context_features = None if warped is None else to_double_precision(warped)
        self._hyper_decoders = {id(m): to_double_precision(m.decoder) for m in (network.motion_model, network.model)}

    def lambda_of_base(self, rate: float, error: float) -> float:
        """The lambda of a base stream: what the base codec would pay for a smaller error.

        `rate` is in bits for each pixel of the whole video, `error` the mean squared error of the base stream's frames.
        """
        return rate / (_BASE_ELASTICITY * max(error, 1e-7))

    def lambda_at(self, step: float) -> float:
        """The lambda at which this step of the quantizer, of samples in [0, 1], is the best one."""
        return _LAMBDA_TIMES_STEP_SQUARED / step**2

    def step_at(self, lmbda: float) -> float:
        """The best step of the quantizer, of samples in [0, 1], at a lambda."""
        return float(min(max((_LAMBDA_TIMES_STEP_SQUARED / max(lmbda, 1e-9)) ** 0.5, 1 / 255), _MAX_STEP))

    def encode(
        self,
        first: SourceFrame,
        second: SourceFrame,
        truth: SourceFrame,
        t: Fraction,
        step: float,
        lmbda: float | None = None,
    ) -> tuple[bytes, av.VideoFrame]:
        """The bits of a frame `truth` at 0 < t < 1, and the frame that a decoder makes of them.

        `first` and `second` are the decoded frames around it, `step` is the quantizer's, of samples in [0, 1], and
        `lmbda` None chooses the lambda that suits the step.

        Raises:
            UsageError: if the network was trained for t = 1/2 alone, and t is another.
        """
        network = self._network
        lmbda = self.lambda_at(step) if lmbda is None else lmbda
        code = code_from_step(step)
        height, width = truth.rgb.shape[:2]
        pixels = height * width
        with torch.inference_mode():
            inputs = self._prepare(first, second, t, code)
            frame0, frame1, predicted = inputs.frame0, inputs.frame1, inputs.predicted
            true = _to_tensor(truth.rgb)
            searched = _to_tensors(network.predictor.search_for_teacher(_padded_images(first, truth, second)))
            taught = network.predictor.teach(frame0, frame1, inputs.t, true, predicted, searched)
            predicted_frame, taught_frame = (motion.synthesize(frame0, frame1) for motion in (predicted, taught))
            motion_latents = network.encode_motion(predicted, taught, predicted_frame, taught_frame, true, inputs.step)
            # Coded motion may not be worth its bits: try without it, too, and take the lower cost.
            candidates: list[tuple[float, bytes, Tensor]] = []
            motion_context = self._context(inputs)
            for latents in (motion_latents, torch.zeros_like(motion_latents)):
                writer = SymbolEncoder(self._gaussians)
                decoded = self._encode_latents(writer, network.motion_model, latents, inputs, motion_context)
                contexts, prediction = self._compensate(inputs, decoded)
                latents = network.encode_frame(true, prediction, contexts, inputs.step)
                context = self._context(inputs, decoded)
                decoded = self._encode_latents(writer, network.model, latents, inputs, context)
                frame = network.decode_frame(prediction, contexts, decoded, inputs.step)
                error = float(torch.mean((frame.clamp(0, 1) - true)[..., :height, :width] ** 2))
                payload = bytes([code]) + writer.bytes()
                candidates.append((error * lmbda * pixels + 8 * len(payload), payload, frame))
            _, payload, frame = min(candidates, key=lambda candidate: candidate[0])
            return payload, self._to_video_frame(frame, first, second, t)

    def decode(self, first: SourceFrame, second: SourceFrame, payload: bytes, t: Fraction) -> av.VideoFrame | None:
        """The frame of some bits; None if they cannot be the bits of a frame."""
        network = self._network
        if len(payload) < 1 or (len(payload) - 1) % 4:
            return None
        with torch.inference_mode():
            inputs = self._prepare(first, second, t, payload[0])
            try:
                reader = SymbolDecoder(payload[1:], self._gaussians)
                context = self._context(inputs)
                motion_latents = self._decode_latents(reader, network.motion_model, 5, inputs, context)
                context = self._context(inputs, motion_latents)
                frame_latents = self._decode_latents(reader, network.model, len(network.gain), inputs, context)
            except (ValueError, RuntimeError, AssertionError):
                return None
            contexts, prediction = self._compensate(inputs, motion_latents)
            frame = network.decode_frame(prediction, contexts, frame_latents, inputs.step)
            return self._to_video_frame(frame, first, second, t)

    # -- steps of both sides

    def _prepare(self, first: SourceFrame, second: SourceFrame, t: Fraction, code: int) -> _Inputs:
        predictor = self._network.predictor
        if not predictor.any_time and t != Fraction(1, 2):
            raise UsageError("These weights code the frame in the middle of two alone: pass `keep=2`.")
        frame0, frame1 = _to_tensor(first.rgb), _to_tensor(second.rgb)
        time = torch.full((1, 1, 1, 1), float(t))
        searched = _to_tensors(predictor.search(_padded_images(first, second), float(t)))
        codes = np.stack([frame.luma for frame in (first, second)]).astype(np.float64)
        luma = _pad(torch.from_numpy(codes / 256.0 - 0.5)[None])
        return _Inputs(
            frame0=frame0,
            frame1=frame1,
            t=time,
            code=code,
            step=torch.full((1, 1, 1, 1), step_from_code(code)),
            step_feature=torch.full((1, 1, 1, 1), step_feature_from_code(code), dtype=torch.float64),
            luma=luma,
            reference=self._reference_features(luma),
            motion=None if self._context_features is None else search_exact_motion(luma, time.double()),
            predicted=predictor.predict(frame0, frame1, time, searched),
        )

    def _compensate(self, inputs: _Inputs, motion_latents: Tensor) -> tuple[list[Tensor], Tensor]:
        """The contexts and the prediction by the compressed motion."""
        network, motion = self._network, inputs.predicted
        if bool(motion_latents.any()):
            motion = network.decode_motion(motion, motion_latents, inputs.step)
        contexts = network.contexts(inputs.frame0, inputs.frame1, motion)
        return contexts, motion.synthesize(inputs.frame0, inputs.frame1)

    def _context(self, inputs: _Inputs, motion_latents: Tensor | None = None) -> Tensor | None:
        """The context of the motion's entropy model, or, with the motion's latents, of the frame's."""
        if self._context_features is None or inputs.motion is None:
            return None
        motion = inputs.motion
        if motion_latents is not None:
            residual = motion_latents[:, :4].double() * self._network.exact_motion_steps(inputs.code)
            motion = add_exact_residual(inputs.luma, motion, residual)
        context: Tensor = self._context_features(warp_exactly(inputs.luma, motion))
        return context

    def _distributions(
        self, model: LatentEntropyModel, z: NDArray[np.int64], inputs: _Inputs, context: Tensor | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The mean of every latent and the index of its scale, from the symbols of z, (K, h/4, w/4)."""
        symbols = torch.from_numpy(z[None].astype(np.float64))
        mean, log_scale = self._hyper_decoders[id(model)](symbols, inputs.reference, inputs.step_feature, context)
        return mean[0].float().numpy(), scale_indices(log_scale[0])

    def _encode_latents(
        self,
        writer: SymbolEncoder,
        model: LatentEntropyModel,
        latents: Tensor,
        inputs: _Inputs,
        context: Tensor | None,
    ) -> Tensor:
        """Write latents; returns them as the decoder will have them."""
        z = torch.round(model.hyper_latents(latents)).clamp(-_MAX_HYPER_SYMBOL, _MAX_HYPER_SYMBOL)
        symbols = z[0].numpy().astype(np.int64)
        tables = model.prior.tables.numpy().astype(np.int32)
        writer.encode(symbols.reshape(-1), writer.models.prior_plan(tables, symbols[0].size))
        mean, indices = self._distributions(model, symbols, inputs, context)
        distance = latents[0].numpy() - mean
        quantized = np.sign(distance) * np.floor(np.abs(distance) + _ROUNDING_OFFSET)
        quantized = quantized.clip(-_MAX_LATENT_SYMBOL, _MAX_LATENT_SYMBOL)
        writer.encode(quantized.astype(np.int64).reshape(-1), writer.models.gaussian_plan(indices.reshape(-1)))
        return torch.from_numpy((quantized + mean).astype(np.float32))[None]

    def _decode_latents(
        self, reader: SymbolDecoder, model: LatentEntropyModel, channels: int, inputs: _Inputs, context: Tensor | None
    ) -> Tensor:
        """Read latents (1, channels, H/8, W/8)."""
        height, width = (side // 8 for side in inputs.frame0.shape[-2:])
        tables = model.prior.tables.numpy().astype(np.int32)
        shape = (len(tables), height // 4, width // 4)
        size = shape[1] * shape[2]
        symbols = reader.decode(len(tables) * size, reader.models.prior_plan(tables, size)).reshape(shape)
        mean, indices = self._distributions(model, symbols, inputs, context)
        quantized = reader.decode(indices.size, reader.models.gaussian_plan(indices.reshape(-1)))
        return torch.from_numpy((quantized.reshape(channels, height, width) + mean).astype(np.float32))[None]

    def _to_video_frame(self, frame: Tensor, first: SourceFrame, second: SourceFrame, t: Fraction) -> av.VideoFrame:
        height, width = first.rgb.shape[:2]
        image = frame[0, :, :height, :width].clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
        return frame_from_planes(first.to_planes(image, second, float(t)), first.video)


def _padding(height: int, width: int) -> tuple[int, int]:
    """How many rows and columns bring a size to multiples of the network's."""
    return -height % BFrameNetwork.multiple, -width % BFrameNetwork.multiple


def _pad(maps: Tensor) -> Tensor:
    rows, columns = _padding(*maps.shape[-2:])
    return F.pad(maps, (0, columns, 0, rows), mode="replicate")


def _to_tensor(image: NDArray[np.float32]) -> Tensor:
    """An image (H, W, 3) as a padded tensor (1, 3, H, W)."""
    return _pad(torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None])


def _padded_images(*frames: SourceFrame) -> NDArray[np.uint8]:
    """Frames as 8-bit images, padded, (count, H, W, 3)."""
    images = np.stack([to_uint8(frame.rgb) for frame in frames])
    rows, columns = _padding(*images.shape[1:3])
    return np.pad(images, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="edge")


def _to_tensors(maps: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Maps (H, W, C) as tensors (1, C, H, W)."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(value, np.float32)).permute(2, 0, 1)[None]
        for name, value in maps.items()
    }
