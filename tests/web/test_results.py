"""What is made to be looked at: kept by content, found by name, removed in time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from betwixt.errors import UsageError
from betwixt.web import results
from betwixt.web.results import ResultStore, result_key

KEY = "a" * 64


def write(folder: Path) -> dict[str, Any]:
    (folder / "x.png").write_bytes(b"x" * 100)
    return {"said": 1}


def test_a_result_is_made_once(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    first = store.get(KEY, write)
    assert (first.facts, first.url("x.png")) == ({"said": 1}, f"/results/{KEY}/x.png")
    assert store.get(KEY, lambda _: pytest.fail("it is there already")) == first
    assert store.find(KEY, "x.png") == first.folder / "x.png"


def test_nothing_is_left_of_one_that_fails(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        write(folder)
        raise UsageError("no")

    with pytest.raises(UsageError):
        ResultStore(tmp_path).get(KEY, fail)
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (KEY, "../secret.png"), (KEY, ".."), (KEY, ".hidden"), (KEY, "sub/x.png"), (KEY, "x.png\0"), ("..", "x.png"),
        ("../results/" + KEY, "x.png"), (KEY.upper(), "x.png"), (KEY, ""), (KEY, "/etc/passwd"),
    ],
)  # fmt: skip
def test_names_from_a_browser_lead_nowhere_else(tmp_path: Path, key: str, name: str) -> None:
    store = ResultStore(tmp_path)
    store.get(KEY, write)
    (tmp_path / "results" / "secret.png").write_bytes(b"s")
    assert store.find(key, name) is None


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_LIMIT", 250)
    store = ResultStore(tmp_path)
    keys = [letter * 64 for letter in "abc"]
    for age, key in zip((30, 20, 10), keys, strict=True):
        folder = store.get(key, write).folder
        os.utime(folder, (time.time() - age, time.time() - age))
    assert [store.find(key, "x.png") is not None for key in keys] == [False, True, True]


def test_what_nobody_looks_at_is_removed(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    folder = store.get(KEY, write).folder
    store.remove_expired(1)
    assert store.find(KEY, "x.png") is not None
    os.utime(folder, (0, 0))
    store.remove_expired(1)
    assert store.find(KEY, "x.png") is None


def test_keys_depend_on_content_model_and_settings(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a")
    keys = {
        result_key("x", [file], ["dis"], 1), result_key("y", [file], ["dis"], 1), result_key("x", [file], ["fast"], 1),
        result_key("x", [file], ["dis"], 2),
    }  # fmt: skip
    assert result_key("x", [file], ["dis"], 1) in keys
    file.write_bytes(b"ab")
    assert len(keys | {result_key("x", [file], ["dis"], 1)}) == 5
