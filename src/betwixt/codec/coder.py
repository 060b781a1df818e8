"""B frames to bits and back: the network at work.

    first, second ──► predicted motion ──► ..motion bits.. ──► contexts, prediction ──► ..frame bits.. ──► planes

    payload   step, a byte | range-coded symbols: z and y of the motion, z and y of the frame

Both sides compute the same things in the same order, with one thread a frame (`betwixt.codec.pairs`), so a decoder in
another process gives the encoder's reconstruction bit by bit. All four sets of symbols depend on integers alone. A
machine whose floating point differs in its last bits still reads the symbols that were written; its frames then differ
by a rounding here and there, and the checksum reports it. B frames are not references, so no difference spreads.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from betwixt.codec.entropy import LatentEntropyModel, SymbolDecoder, SymbolEncoder, require_constriction
from betwixt.codec.fixed_point import to_double_precision
from betwixt.codec.network import BFrameMotion, BFrameNetwork, CodecConfig, step_code, step_from_code
from betwixt.errors import InputError, UsageError
from betwixt.evaluation.metrics import to_uint8
from betwixt.files import file_hash
from betwixt.machine import require_torch
from betwixt.media.frames import frame_from_planes
from betwixt.runtime.synthesis import SourceFrame
from betwixt.weights.load import load_weights, read_tensors
from betwixt.weights.metadata import read_metadata
from betwixt.weights.store import embedded_file, find_installed

__all__ = ["MODEL", "BFrameCoder", "finish_weights", "load_coder"]

MODEL = "codec-b"
"""The name of its weights, as `betwixt weights` keeps them."""

_ROUNDING = 0.25
"""What is added before rounding down: less than 1/2, since small values cost more bits than they bring."""

_ELASTICITY = 1.1
"""By how many percent a base codec's error falls for one percent more bits: 0.8 to 1.3 on the clips of
docs/how-to/compress.md, x265."""

_SLOPE = 177.0
"""What the network's last bits bring: a step S, of samples in [0, 1], is worth its bits where a unit of mean squared
error is worth 177 / S² bits a pixel."""

_COARSEST = 180.0 / 255.0
"""The largest step that follows; beyond what training has seen, little is left to be said."""


def load_coder(weights: str | Path | None = None) -> BFrameCoder:
    """The network that codes B frames, with its weights.

    Args:
        weights: A file; None for what comes with Betwixt or is installed.

    Raises:
        UsageError: if there are no weights, or PyTorch or constriction is missing.
        InputError: if the weights do not fit.
    """
    require_torch("The mode bit-need")
    require_constriction()
    path = Path(weights) if weights is not None else None
    if path is None:
        shipped = embedded_file(f"{MODEL}.safetensors")
        path = shipped if shipped.is_file() else find_installed(MODEL)
    if path is None:
        raise UsageError(
            "No weights of the B-frame network are at hand: train it (recipes/codec.toml, docs/how-to/compress.md) and "
            "pass --codec-weights FILE, or use --mode bit-free."
        )
    if not path.is_file():
        raise InputError(f"There is no file of weights {path}.")
    described = read_metadata(path)
    if described.get("model") != MODEL:
        raise InputError(f"{path} holds no weights of the B-frame network (its metadata has no model '{MODEL}').")
    network = BFrameNetwork(_config_of(described, path))
    load_weights(network, path)
    tensors = read_tensors(path)
    for name, buffer in _tables(network).items():
        if name not in tensors or tensors[name].shape != buffer.shape:
            raise InputError(f"{path} was not finished for coding: it lacks {name} (see betwixt train export).")
        buffer.copy_(tensors[name])
    return BFrameCoder(network, file_hash(path)[:12])


def _config_of(described: dict[str, str], path: Path) -> CodecConfig:
    try:
        return CodecConfig(predictor=str(json.loads(described["network"])["predictor"]))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not say which B-frame network it holds: its metadata lacks it.") from None


def _tables(network: BFrameNetwork) -> dict[str, Tensor]:
    """The tables of whole numbers that probabilities are read from, by their names in a file of weights."""
    return {
        "gaussians": network.gaussians,
        "motion_model.prior.tables": network.motion_model.prior.tables,
        "model.prior.tables": network.model.prior.tables,
    }


def finish_weights(network: BFrameNetwork) -> dict[str, Tensor]:
    """A network's weights as a coder loads them: parameters in 16 bits, and the tables that follow from these."""
    kept = {name: value.detach().cpu().half() for name, value in network.state_dict().items()}
    frozen = BFrameNetwork(network.config)
    frozen.load_state_dict({name: value.float() for name, value in kept.items()})
    for model in (frozen.motion_model, frozen.model):
        model.prior.freeze()
    return {name: tensor.contiguous() for name, tensor in (kept | _tables(frozen)).items()}


class BFrameCoder:
    """Codes frames between two.

    Args:
        network: With its weights; its tables are frozen.
        weights: What is written into a file to know them by.
    """

    def __init__(self, network: BFrameNetwork, weights: str) -> None:
        self.weights = weights
        self._network = network.eval().requires_grad_(False)
        self._gaussians = network.gaussians.numpy().astype(np.int32)
        self._look = to_double_precision(network.look)
        self._hyper = {id(m): to_double_precision(m.decoder) for m in (network.motion_model, network.model)}

    def worth_of(self, rate: float, error: float) -> float:
        """What a unit of mean squared error is worth, in bits a pixel: what the base codec would pay for it.

        Args:
            rate: Of the base stream, in bits for each pixel of the whole video.
            error: Mean squared error of its frames, of samples in [0, 1].
        """
        return rate / (_ELASTICITY * max(error, 1e-7))

    def worth_at(self, step: float) -> float:
        """The same, where such a step is the right one."""
        return _SLOPE / step**2

    def step_for(self, worth: float) -> float:
        """The quantizer's step, of samples in [0, 1], whose last bits bring what they cost."""
        return float(min(max((_SLOPE / max(worth, 1e-9)) ** 0.5, 1 / 255), _COARSEST))

    def encode(
        self,
        first: SourceFrame,
        second: SourceFrame,
        truth: SourceFrame,
        t: Fraction,
        step: float,
        worth: float | None = None,
    ) -> tuple[bytes, Any]:
        """The bits of a frame, and the frame that a decoder makes of them.

        Args:
            first: The decoded frame before.
            second: The decoded frame after.
            truth: The true frame.
            t: Its time, 0 < t < 1.
            step: The quantizer's, of samples in [0, 1].
            worth: What a unit of mean squared error is worth, in bits a pixel; None for what suits the step.

        Raises:
            UsageError: if the network was made for t = 1/2 alone.
        """
        network = self._network
        worth = self.worth_at(step) if worth is None else worth
        code = step_code(step)
        pixels = truth.video.width * truth.video.height
        with torch.inference_mode():
            scene = self._scene(first, second, t, code)
            true = _tensor(truth.picture)
            pictures = np.stack([_bytes(s.picture) for s in (first, truth, second)])
            hints = _tensors(network.predictor.teacher_hints(_padded(pictures, network.multiple)))
            taught = network.predictor.teach(scene.frame0, scene.frame1, scene.t, true, scene.predicted, hints)
            best: tuple[float, bytes, Any] | None = None
            unaided, better = (m.frame(scene.frame0, scene.frame1) for m in (scene.predicted, taught))
            wanted = network.motion_latents(scene.predicted, taught, unaided, better, true, scene.step)
            # BFrameMotion is worth its bits or it is not: both are tried.
            for latents in (wanted, torch.zeros_like(wanted)):
                writer = SymbolEncoder(self._gaussians)
                y = self._put(writer, network.motion_model, latents, scene)
                contexts, prediction = self._compensate(scene, y)
                found = network.latents(true, prediction, contexts, scene.step)
                y = self._put(writer, network.model, found, scene)
                frame = network.reconstruct(prediction, contexts, y, scene.step)
                height, width = truth.picture.shape[:2]
                error = float(torch.mean((frame.clamp(0, 1) - true)[..., :height, :width] ** 2))
                payload = bytes([code]) + writer.bytes()
                cost = error * worth * pixels + 8 * len(payload)
                if best is None or cost < best[0]:
                    best = cost, payload, frame
            assert best is not None
            return best[1], self._finished(best[2], first, second, t)

    def decode(self, first: SourceFrame, second: SourceFrame, payload: bytes, t: Fraction) -> av.VideoFrame | None:
        """The frame of some bits; None if they cannot be its bits."""
        network = self._network
        if len(payload) < 1 or (len(payload) - 1) % 4:
            return None
        with torch.inference_mode():
            scene = self._scene(first, second, t, payload[0])
            try:
                reader = SymbolDecoder(payload[1:], self._gaussians)
                motion = self._take(reader, network.motion_model, 5, scene)
                y = self._take(reader, network.model, len(network.gain), scene)
            except (ValueError, RuntimeError, AssertionError):
                return None
            contexts, prediction = self._compensate(scene, motion)
            frame = network.reconstruct(prediction, contexts, y, scene.step)
            return self._finished(frame, first, second, t)

    # -- what both sides do

    def _scene(self, first: SourceFrame, second: SourceFrame, t: Fraction, code: int) -> _Scene:
        network = self._network
        if not network.predictor.any_time and t != Fraction(1, 2):
            raise UsageError("These weights code the frame in the middle of two alone: pass --keep 2.")
        frame0, frame1 = _tensor(first.picture), _tensor(second.picture)
        pictures = _padded(np.stack([_bytes(s.picture) for s in (first, second)]), network.multiple)
        time = torch.full((1, 1, 1, 1), float(t))
        hints = _tensors(network.predictor.hints(pictures, float(t)))
        step = torch.full((1, 1, 1, 1), step_from_code(code))
        luma = np.stack([s.luma for s in (first, second)]).astype(np.float64) / 256.0 - 0.5
        look = self._look(F.pad(torch.from_numpy(luma)[None], _margins(*luma.shape[-2:]), mode="replicate"))
        hint = torch.full((1, 1, 1, 1), code / 64.0, dtype=torch.float64)
        predicted = network.predictor.predict(frame0, frame1, time, hints)
        return _Scene(frame0, frame1, time, step, look, hint, predicted)

    def _compensate(self, scene: _Scene, y: Tensor) -> tuple[list[Tensor], Tensor]:
        network = self._network
        motion = network.compressed_motion(scene.predicted, y, scene.step) if bool(y.any()) else scene.predicted
        contexts = network.contexts(scene.frame0, scene.frame1, motion)
        return contexts, motion.frame(scene.frame0, scene.frame1)

    def _distribution(
        self, model: LatentEntropyModel, z: NDArray[np.int64], shape: tuple[int, ...], scene: _Scene
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Means and indices of scales of every latent, in whole numbers but for their unit."""
        symbols = torch.from_numpy(z.reshape(shape).astype(np.float64))
        mean, scale = self._hyper[id(model)](symbols, scene.look, scene.hint)
        index = ((scale + 4.0) * 4.0).round().long()
        return mean[0].float().numpy(), index[0].numpy()

    def _put(self, writer: SymbolEncoder, model: LatentEntropyModel, latents: Tensor, scene: _Scene) -> Tensor:
        """Write latents; returns them as they are read."""
        z = torch.round(model.encoder(latents)).clamp(-1000, 1000)
        symbols = z[0].numpy().astype(np.int64)
        tables = model.prior.tables.numpy().astype(np.int32)
        writer.encode(symbols.reshape(-1), writer.models.prior(tables, symbols[0].size))
        mean, index = self._distribution(model, symbols, tuple(z.shape), scene)
        distance = latents[0].numpy() - mean
        whole = (np.sign(distance) * np.floor(np.abs(distance) + _ROUNDING)).clip(-30000, 30000)
        writer.encode(whole.astype(np.int64).reshape(-1), writer.models.plan(index.reshape(-1)))
        return torch.from_numpy((whole + mean).astype(np.float32))[None]

    def _take(self, reader: SymbolDecoder, model: LatentEntropyModel, channels: int, scene: _Scene) -> Tensor:
        """Read latents."""
        height, width = (side // 8 for side in scene.frame0.shape[-2:])
        tables = model.prior.tables.numpy().astype(np.int32)
        size = (height // 4) * (width // 4)
        symbols = reader.decode(len(tables) * size, reader.models.prior(tables, size))
        mean, index = self._distribution(model, symbols, (1, len(tables), height // 4, width // 4), scene)
        whole = reader.decode(index.size, reader.models.plan(index.reshape(-1))).reshape(channels, height, width)
        return torch.from_numpy((whole + mean).astype(np.float32))[None]

    def _finished(self, frame: Tensor, first: SourceFrame, second: SourceFrame, t: Fraction) -> av.VideoFrame:
        height, width = first.picture.shape[:2]
        picture = frame[0, :, :height, :width].clamp(0, 1).permute(1, 2, 0).contiguous().numpy()
        return frame_from_planes(first.to_planes(picture, second, float(t)), first.video)


class _Scene:
    """What encoder and decoder know of a frame before any bits."""

    def __init__(
        self,
        frame0: Tensor,
        frame1: Tensor,
        t: Tensor,
        step: Tensor,
        look: Tensor,
        hint: Tensor,
        predicted: BFrameMotion,
    ) -> None:
        self.frame0, self.frame1, self.t, self.step = frame0, frame1, t, step
        self.look, self.hint, self.predicted = look, hint, predicted


def _margins(height: int, width: int, multiple: int = 32) -> tuple[int, int, int, int]:
    return 0, -width % multiple, 0, -height % multiple


def _tensor(picture: NDArray[np.float32]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)[None]
    return F.pad(tensor, _margins(*tensor.shape[-2:]), mode="replicate")


def _bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    return to_uint8(picture)


def _padded(pictures: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    height, width = pictures.shape[1:3]
    _, right, _, below = _margins(height, width, multiple)
    return np.pad(pictures, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")


def _tensors(hints: dict[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.ascontiguousarray(value, np.float32)).permute(2, 0, 1)[None]
        for name, value in hints.items()
    }
