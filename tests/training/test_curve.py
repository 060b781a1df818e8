from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from betwixt.errors import InputError
from betwixt.training.curve import add_row, curve_hash, draw_curve, read_curve

ROOT = Path(__file__).resolve().parents[2]


def test_the_plot_in_the_docs_is_up_to_date() -> None:
    image = (ROOT / "docs/images/curve.png").read_bytes()
    assert curve_hash(ROOT / "checkpoints/curve.csv").encode() in image, "run make curve"


def test_a_new_development_set_gets_a_column(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    add_row(path, {"recipe": "a", "samples": 8, "hours": 0.1, "davis": 20.5})
    add_row(path, {"recipe": "a", "samples": 16, "hours": 0.2, "ucf101": 30.0})
    first, second = read_curve(path)
    assert first == {"recipe": "a", "samples": "8", "hours": "0.1", "davis": "20.5", "ucf101": ""}
    assert second["davis"] == ""
    draw_curve(path, tmp_path / "curve.png")
    assert curve_hash(path).encode() in (tmp_path / "curve.png").read_bytes()
    image = cv2.imread(str(tmp_path / "curve.png"))
    assert image is not None
    assert image.std() > 1


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "recipe,samples,hours,davis\na,8,soon,3\n", "recipe,samples,hours\n"]
)
def test_a_file_that_is_not_a_curve_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "curve.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"curve\.csv"):
        read_curve(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_curve(tmp_path / "none.csv")
