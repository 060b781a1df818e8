"""The nodes for ComfyUI, as ComfyUI calls them: by keyword, with images (N, H, W, 3) float32."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import tomllib
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="ComfyUI brings PyTorch")

import betwixt  # noqa: E402
from betwixt.errors import BetwixtError  # noqa: E402
from betwixt.integrations import comfyui  # noqa: E402
from betwixt.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS  # noqa: E402
from betwixt.version import __version__  # noqa: E402
from clips import make_clip, read_frames  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "comfyui"


def shot(count: int, height: int = 48, width: int = 64, seed: int = 0) -> torch.Tensor:
    """A texture that moves by two pixels a frame, with values that no integer of 16 bits has."""
    noise = torch.rand((1, 3, height // 4, width // 2), generator=torch.Generator().manual_seed(seed))
    texture = torch.nn.functional.interpolate(noise, size=(height, width + 2 * count), mode="bicubic").clamp(0, 1)
    return torch.stack([texture[0, :, :, 2 * n : 2 * n + width].permute(1, 2, 0) for n in range(count)]).contiguous()


def call(name: str, **inputs: object) -> tuple:
    """Call a node as ComfyUI does: on a new object, by the name of its function."""
    node = NODE_CLASS_MAPPINGS[name]()
    result = getattr(node, node.FUNCTION)(**{"model": "dis", **inputs})
    assert len(result) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return result


def test_nodes_describe_themselves_as_comfyui_expects() -> None:
    assert NODE_CLASS_MAPPINGS.keys() == NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        assert set(inputs) == {"required", "optional"}
        for kind, settings in (entry for group in inputs.values() for entry in group.values() if len(entry) == 2):
            assert kind in ("IMAGE", "FLOAT", "BOOLEAN") or settings["default"] in kind
        assert inputs["required"]["images"][0] == "IMAGE"
        assert {"auto", "fast", "hybrid", "rife-4.6"} <= set(inputs["required"]["model"][0])
        assert not {"amt-s", "overlap"} & set(inputs["required"]["model"][0])  # no weights, for comparison alone
    json.dumps({name: node.INPUT_TYPES() for name, node in NODE_CLASS_MAPPINGS.items()})


def test_models_with_installed_weights_are_offered_if_they_interpolate(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BETWIXT_WEIGHTS", str(tmp_path))
    for model in ("amt-s", "rife-next"):
        (tmp_path / f"{model}.safetensors").touch()
    names = comfyui.model_names()
    assert "amt-s" in names
    assert "rife-next" not in names  # it makes the frame after two frames


@pytest.mark.parametrize(("height", "width"), [(48, 64), (33, 47)])
@pytest.mark.parametrize("model", ["dis", "compact"])
def test_frames_are_those_of_the_library(model: str, height: int, width: int) -> None:
    images = shot(5, height, width)
    (result,) = call("BetwixtMultiply", images=images, multiplier=2.5, model=model)
    assert result.dtype == torch.float32
    expected = list(betwixt.frames(list(images.numpy()), input_fps=10, fps=25, model=model, dtype="float32"))
    assert result.shape == (len(expected), height, width, 3) == (13, height, width, 3)
    for made, frame in zip(result.numpy(), expected, strict=True):
        if frame.synthesized:
            assert (made == frame.image).all()
    # Source frames are not rounded to 16 bits.
    assert (result[::5] == images[::2]).all()
    assert (result[11:] == images[-1]).all()


def test_a_rate_becomes_another() -> None:
    images = shot(24)
    result, fps = call("BetwixtChangeRate", images=images, source_fps=24000 / 1001, target_fps=59.94, model="fast")
    assert (len(result), fps) == (60, 59.94)
    assert (result[5::5] == images[2::2]).all()
    fewer, _ = call("BetwixtChangeRate", images=images, source_fps=24, target_fps=12)
    assert (fewer == images[::2]).all()


@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_nothing_is_blended_across_a_cut(threshold: float) -> None:
    images = torch.cat((shot(8, 96, 128), 1 - shot(8, 96, 128, seed=7) ** 3))
    (kept,) = call("BetwixtMultiply", images=images, multiplier=4, cut_threshold=threshold)
    (blended,) = call("BetwixtMultiply", images=images, multiplier=4, scene_cuts=False)

    def mixture(frame: torch.Tensor) -> float:
        """How far a frame is from one shot, in relation to the other: 1 halfway between the two."""
        distances = [float((frame - images[n]).abs().mean()) for n in (7, 8)]
        return min(distances) / max(distances)

    assert max(mixture(kept[n]) for n in (29, 30, 31)) < 0.5
    assert mixture(blended[30]) > 0.7


def test_one_image_is_held() -> None:
    images = shot(1)
    (result,) = call("BetwixtMultiply", images=images, multiplier=3)
    assert (result == images).all()
    assert len(result) == 3


def test_images_beyond_the_range_are_limited_for_new_frames_alone() -> None:
    images = shot(3) * 1.5 - 0.25
    (result,) = call("BetwixtMultiply", images=images, multiplier=2)
    assert (result[::2] == images).all()
    assert 0 <= result[1].min() <= result[1].max() <= 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"images": torch.zeros(2, 8, 8, 4)}, "The images are 2x8x8x4: they have to be a batch of RGB images"),
        ({"images": torch.zeros(8, 8, 3)}, "The images are 8x8x3"),
        ({"images": torch.zeros(0, 8, 8, 3)}, "There are no images"),
        ({"images": torch.full((2, 8, 8, 3), torch.nan)}, "Frame 0"),
        ({"multiplier": 0.0}, "multiplier"),
        ({"multiplier": 2000.0}, "out of range"),
        ({"model": "no such"}, "There is no model 'no such'"),
        ({"device": "tpu", "model": "compact"}, "There is no device 'tpu'"),
    ],
)
def test_errors_are_one_line(inputs: dict, message: str) -> None:
    with pytest.raises(BetwixtError, match=message) as caught:
        call("BetwixtMultiply", **{"images": shot(2), "multiplier": 2.0, **inputs})
    assert "\n" not in str(caught.value)


class Cancelled(Exception):
    """As ComfyUI raises it."""


def test_progress_is_shown_and_the_user_can_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int) -> None:
            assert value <= self.total
            shown.append(value)

    def check() -> None:
        if len(shown) == 4:
            raise Cancelled

    comfy, utils, management = (ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management"))
    utils.ProgressBar, management.throw_exception_if_processing_interrupted = ProgressBar, check
    for module in (comfy, utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    call("BetwixtMultiply", images=shot(1), multiplier=3)
    assert shown == [1, 2, 3]
    with pytest.raises(Cancelled):
        call("BetwixtMultiply", images=shot(9), multiplier=2)
    assert shown == [1, 2, 3, 1]


def test_few_images_are_read_ahead_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    get = comfyui._Frames.__getitem__
    monkeypatch.setattr(comfyui._Frames, "__getitem__", lambda self, n: (read.append(n), get(self, n))[1])

    def wait(done: int) -> None:
        """Let the threads read for as long as they do, before the first frame is taken."""
        count = -1
        while count < len(read):
            count = len(read)
            time.sleep(0.2)
        raise Cancelled

    monkeypatch.setattr(comfyui, "_progress", lambda total: wait)
    counts = []
    for length in (100, 300):
        read.clear()
        with pytest.raises(Cancelled):
            call("BetwixtMultiply", images=shot(length, 32, 48), multiplier=2)
        counts.append(len(set(read)))
    assert max(counts) < 80
    assert abs(counts[0] - counts[1]) < 10


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    def peak(length: int) -> float:
        """The most memory that arrays outside of PyTorch take, in images: those and the result are in PyTorch."""
        images = shot(length)
        tracemalloc.start()
        try:
            call("BetwixtMultiply", images=images, multiplier=2, model="fast")
            return tracemalloc.get_traced_memory()[1] / (images[0].numel() * 4)
        finally:
            tracemalloc.stop()

    peak(4)  # what is kept from the first run on
    few = peak(60)
    assert peak(150) < few + 30


def test_the_folder_for_custom_nodes_loads(tmp_path: Path) -> None:
    folder = EXAMPLE / "betwixt"
    spec = importlib.util.spec_from_file_location("custom_nodes.betwixt", folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS is comfyui.NODE_CLASS_MAPPINGS
    described = tomllib.loads((folder / "pyproject.toml").read_text())
    assert described["project"]["version"] == __version__
    assert described["tool"]["comfy"]["PublisherId"]
    assert described["project"]["urls"]["Repository"]


def test_the_example_gives_the_node_its_inputs(tmp_path: Path) -> None:
    workflow = json.loads((EXAMPLE / "workflow.json").read_text())
    (node,) = (node for node in workflow.values() if node["class_type"] in NODE_CLASS_MAPPINGS)
    declared = NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
    given = node["inputs"]
    assert set(given) == set(declared["required"]) | set(declared["optional"])
    frames = read_frames(make_clip(tmp_path / "in.mkv", frames=6, rate=30))
    images = torch.from_numpy(np.stack([frame.video.to_ndarray(format="rgb24") for frame in frames]) / np.float32(255))
    values = {name: value for name, value in given.items() if not isinstance(value, list)}
    result, fps = call(node["class_type"], **{**values, "images": images, "source_fps": 30.0, "model": "fast"})
    assert (len(result), fps) == (Fraction(60, 30) * 6, 60.0)
