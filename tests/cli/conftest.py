import pytest

from betwixt.cli import progress


@pytest.fixture(autouse=True)
def _no_progress_lines(monkeypatch):
    """Standard error holds results and errors alone, however slow the machine is."""
    monkeypatch.setattr(progress, "_LINE_INTERVAL", float("inf"))
