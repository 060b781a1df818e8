"""dis-psnr: detail on which the two frames do not agree is blurred, and nothing else is."""

import cv2
import numpy as np

import betwixt


def detail(image: np.ndarray) -> float:
    return float(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).var())


def middle(model: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    (frame,) = betwixt.load_model(model).between(first, second, [0.5])
    return np.asarray(frame, np.uint8)


def test_only_detail_that_differs_is_blurred() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 255, (128, 256, 3), np.uint8)
    second = first.copy()
    second[:, 128:] = rng.integers(0, 255, (128, 128, 3), np.uint8)
    sharp, soft = (middle(model, first, second) for model in ("dis", "dis-psnr"))
    np.testing.assert_array_equal(soft[:, :96], first[:, :96])
    assert detail(soft[:, 160:]) < 0.5 * detail(sharp[:, 160:])


def test_equal_frames_stay_as_they_are() -> None:
    image = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    np.testing.assert_array_equal(middle("dis-psnr", image, image), image)
