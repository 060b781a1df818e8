"""The notebook runs from its first cell to its last, as a reader would run it."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import sample

EXAMPLES = Path(sample.__file__).parent
NOTEBOOK = EXAMPLES / "python.ipynb"
COLAB = EXAMPLES / "colab.ipynb"


@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_and_shows_what_it_says(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "12 source frames, 33 new frames, 3 held after the last" in printed
    assert "OutputError: " in printed
    shown = [output["data"] for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 6
    assert any(data["text/plain"] == "True" for data in shown)  # source frames are equal


@pytest.mark.filterwarnings("default")
def test_the_colab_notebook_runs_without_colab(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(COLAB, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        # A short test runs the fastest model; the cells themselves leave it to the default.
        cell.source = re.sub(r"(factor=2|slow=4), overwrite", r'\1, model="fast", overwrite', cell.source)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "24 frames at 24 per second" in printed
    assert "48 frames at 12 per second" in printed


@pytest.mark.parametrize("notebook", [NOTEBOOK, COLAB])
def test_the_notebooks_are_kept_without_outputs(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
