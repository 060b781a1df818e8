"""The sheet of the worst frames: which place is shown at its true size, and which motion."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from layouts import Image8, make_bands

from betwixt.evaluation.datasets import DatasetOptions, open_dataset
from betwixt.evaluation.metrics import select_metrics
from betwixt.evaluation.scoring import Model, evaluate
from betwixt.evaluation.sheet import write_sheet, write_side_by_side
from betwixt.models.base import Image, Interpolator, Pair
from betwixt.models.baselines.interpolator import Average, DISMidpoint
from betwixt.runtime.load import load_model

HEIGHT, WIDTH = 300, 620
DEFECT = slice(20, 60), slice(500, 540)


@pytest.fixture
def truth(tmp_path: Path) -> Image8:
    """The true frame of a triplet, written with the others: a square that the two given frames do not have."""
    images = [make_bands(HEIGHT, WIDTH) for _ in range(3)]
    images[1][DEFECT] = 255 - images[1][DEFECT]
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    return images[1]


def sheet_of(model: Model, folder: Path, suffix: str, options: DatasetOptions | None = None) -> Path:
    dataset = open_dataset("triplets", folder / "set", options)
    path = folder / f"sheet{suffix}"
    write_sheet(path, model, evaluate(model, dataset, select_metrics("psnr,sharpness")), dataset, "psnr")
    return path


def figures(page: str) -> dict[str, Image8]:
    """The images of an HTML sheet by caption."""
    images = {}
    for data, caption in re.findall(r"base64,([^\"]+)\"[^>]*><figcaption>([^<]+)<", page):
        image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        images[caption] = np.asarray(image, np.uint8)[..., ::-1]
    return images


def test_the_worst_place_is_shown_unscaled(tmp_path: Path, truth: Image8) -> None:
    page = sheet_of(Average(), tmp_path, ".html").read_text()
    assert ".crops img{width:auto;max-width:none}" in page
    images = figures(page)
    assert images["truth"].shape == (232, 480, 3)  # downscaled
    (caption,) = (c for c in images if c.startswith("truth, 1:1 at"))
    left, top = map(int, re.findall(r"\d+", caption.partition("at")[2]))
    assert (left, top) == (WIDTH - 256, 0)  # around the square, within the image
    np.testing.assert_array_equal(images[caption], truth[:256, WIDTH - 256 :])
    np.testing.assert_array_equal(images[caption.replace("truth", "first")], make_bands(HEIGHT, WIDTH)[:256, -256:])
    error = images[caption.replace("truth", "error x 4")]
    expected = np.minimum(4 * np.abs(truth.astype(int) - make_bands(HEIGHT, WIDTH)), 255)
    np.testing.assert_array_equal(error, expected[:256, -256:])

    sheet = cv2.imread(str(sheet_of(Average(), tmp_path, ".png")))
    match = cv2.matchTemplate(sheet, truth[:256, WIDTH - 256 :, ::-1].copy(), cv2.TM_SQDIFF)
    assert match.min() < 1


def test_small_frames_have_no_crops(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), make_bands(256, 256, number))
    assert len(figures(sheet_of(Average(), tmp_path, ".html").read_text())) == 6


class Told(Interpolator):
    """A model that tells a motion of (3, 4) pixels."""

    name = "told"
    extrapolates = True

    def prepare(self, first: Image, second: Image) -> Pair:
        class ToldPair(Pair):
            def at(self, t: float) -> Image:
                return first

            def displacement(self, t: float) -> np.ndarray:  # type: ignore[type-arg]
                return np.broadcast_to(np.array([3, 4], np.float32) * np.float32(max(1, t)), (10, 20, 2))

        return ToldPair()

    def next_frame(self, first: Image, second: Image) -> Image:
        return second


@pytest.mark.usefixtures("truth")
def test_the_motion_is_the_models_own(tmp_path: Path) -> None:
    captions = {
        "told": (Told(), None, "motion, up to 5.0 px"),
        "told, next": (Told(), DatasetOptions(extrapolate=True), "motion, up to 10.0 px"),
        "average": (Average(), None, "no motion"),
        "dis": (load_model("dis"), None, "motion, up to 0.0 px"),  # the two frames are equal
        "dis-midpoint": (DISMidpoint(), None, "motion, up to 0.0 px"),
    }
    for name, (model, options, caption) in captions.items():
        assert caption in figures(sheet_of(model, tmp_path, ".html", options).read_text()), name


@pytest.mark.parametrize("suffix", [".html", ".png"])
def test_models_stand_side_by_side(truth: Image8, tmp_path: Path, suffix: str) -> None:
    dataset = open_dataset("triplets", tmp_path / "set")
    models: list[Model] = [Average(), DISMidpoint()]
    evaluations = [evaluate(model, dataset, select_metrics("psnr")) for model in models]
    path = tmp_path / f"beside{suffix}"
    write_side_by_side(path, models, evaluations, dataset, "psnr")
    if suffix == ".png":
        image = cv2.imread(str(path))
        assert image is not None
        assert image.shape[1] == 8 + 3 * (320 + 8)
        return
    page = path.read_text()
    captions = re.findall(r"<figcaption>([^<]*)", page)
    assert captions[:3] == ["truth", "average", "dis-midpoint"]
    assert captions[3].startswith("truth, 1:1 at")
    crop = base64.b64decode(re.findall(r"base64,([^\"]*)", page)[3])
    shown = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    left, top = (int(x) for x in re.findall(r"at (\d+), (\d+)", captions[3])[0])
    np.testing.assert_array_equal(shown, truth[top : top + 256, left : left + 256])
    assert left <= 500 < 540 <= left + 256
