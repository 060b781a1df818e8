"""docs/results.md and the README's tables are up to date."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_pages_match_the_tables_of_results() -> None:
    project = Path(__file__).parents[2]
    pages = runpy.run_path(str(project / "benchmarks" / "results_page.py"))["pages"]
    for path, text in pages(project).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not up to date: run make results"
