"""docs/results.md and the README's tables are up to date."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = str(Path(__file__).parents[2] / "benchmarks" / "results_page.py")


def test_columns_stand_in_the_tables_where_they_were_measured() -> None:
    script = runpy.run_path(SCRIPT)
    row = {"dataset": "frames", "options": "davis_dev", "count": "9", "complete": "yes", "precision": ""}
    row |= {"protocol": "p", "machine": "m", "weights_hash": "", "date": "d", "model": "dis"}
    row |= {f"psnr{end}": "27.5" for end in ("", "_low", "_high")}
    plain = script["results_page"]([row], [], [], [], [])
    assert "| model | PSNR, dB | frames | weights | date |\n" in plain
    assert "sharp" not in script["readme_tables"]([row], [])
    row |= {"sharpness_median": "0.71234", "sharpness_median_low": "0.6", "sharpness_median_high": "0.8"}
    row |= {"ssimulacra2": "61.26", "ssimulacra2_low": "50", "ssimulacra2_high": "70"}
    page = script["results_page"]([row], [], [], [], [])
    assert "| PSNR, dB | sharpness | SSIMULACRA 2 | frames |" in page
    assert "| 0.712 (0.600 to 0.800) | 61.26 (50.00 to 70.00) | 9 |" in page
    readme = script["readme_tables"]([row], [])
    assert "| method | DAVIS: sharpness | DAVIS: SSIMULACRA 2 |" in readme
    assert "| **betwixt, dis** | 0.71 | 61.3 |" in readme


def test_pages_match_the_tables_of_results() -> None:
    project = Path(__file__).parents[2]
    pages = runpy.run_path(SCRIPT)["pages"]
    for path, text in pages(project).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not up to date: run make results"
