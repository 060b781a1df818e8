"""The import contract, the packages and the table of CONTRIBUTING.md agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import betwixt

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "src" / "betwixt"


def contract_levels() -> list[set[str]]:
    """The names on each level of the layers contract, from the top down."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = (contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    return [set(re.split(r"\s*[|:]\s*", level)) for level in layers]


def table_levels() -> list[set[str]]:
    """The names on each level of the table in CONTRIBUTING.md."""
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    levels: dict[int, set[str]] = {}
    for level, names in re.findall(r"^\| (\d+) \| ([^|]*) \|", text, flags=re.MULTILINE):
        levels.setdefault(int(level), set()).update(re.findall(r"`(\w+)`", names))
    return [levels[level] for level in sorted(levels)]


def test_the_table_in_contributing_is_the_import_contract() -> None:
    assert table_levels() == contract_levels()


def test_the_contract_places_every_package_and_module() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py") if path.name not in ("__init__.py", "__main__.py")}
    assert set().union(*contract_levels()) == packages | modules


def test_every_package_has_a_page_in_the_reference() -> None:
    pages = {path.stem for path in (PROJECT / "docs" / "reference" / "api").glob("*.md")} - {"index"}
    assert pages == {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"cli"}


def test_the_reference_has_everything_that_the_package_exports() -> None:
    page = (PROJECT / "docs" / "reference" / "api" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: betwixt\.(\w+)$", page, flags=re.MULTILINE)) == set(betwixt.__all__) - {"__version__"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files_and_headings(name: str) -> None:
    """`make docs` checks the links of the pages in docs/."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]+)(?:#([^)\s]+))?\)", text):
        target = PROJECT / path
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], anchor
