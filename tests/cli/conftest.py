"""Shared by the tests of this folder."""

import pytest

from reuse import load_model_once


@pytest.fixture(autouse=True)
def reuse_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let conversions share the models that come with Betwixt: loading one takes longer than converting a test clip."""
    for module in ("frame_job", "between"):
        monkeypatch.setattr(f"betwixt.pipeline.{module}.load_model", load_model_once)
