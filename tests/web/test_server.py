"""How the server is started, who may use it, and how it ends."""

from __future__ import annotations

import base64
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from betwixt.cli.main import run
from betwixt.errors import UsageError
from betwixt.web import server as server_module
from web_server import WebServer, form


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs `betwixt web` with arguments that it refuses; gives the error."""

    def refused(*arguments: str) -> str:
        assert run(["web", "--work", str(tmp_path / "work"), *arguments]) == 2
        return capsys.readouterr().err

    return refused


def test_others_can_reach_it_only_with_a_password(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BETWIXT_WEB_PASSWORD", raising=False)
    message = "betwixt: At 0.0.0.0 others can reach the page: set BETWIXT_WEB_PASSWORD, or pass a --password-file.\n"
    assert error("--host", "0.0.0.0") == message
    assert "Through --share others can reach the page" in error("--share", "yes")
    assert "choose no or yes" in error("--share", "maybe")
    monkeypatch.setenv("BETWIXT_WEB_PASSWORD", "")
    assert "The password is empty" in error("--host", "0.0.0.0")


def test_wrong_arguments_are_refused(error: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in error(str(tmp_path / "file"))
    assert "There is no model 'none'" in error("--model", "none")
    assert "--port is 70000" in error("--port", "70000")
    assert "--max-upload and --keep-days must be greater than 0" in error("--max-upload", "0")
    assert "exclude each other" in error("--password", "x", "--password-file", str(tmp_path / "file"))
    assert "cannot be read" in error("--password-file", str(tmp_path / "none"))
    assert "The password is empty" in error("--password-file", str(tmp_path / "file"))


def test_a_port_that_is_taken_is_refused(error: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert error("--port", port) == f"betwixt: 127.0.0.1 port {port} cannot be used: address already in use.\n"


def test_without_gradio_one_line_says_how_to_install_it(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert error() == "betwixt: The page needs gradio: pip install 'betwixt[web]'.\n"


def test_a_tunnel_that_does_not_open_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("There is no network.")

    monkeypatch.setitem(sys.modules, "gradio.networking", types.SimpleNamespace(setup_tunnel=fail))
    with pytest.raises(UsageError, match=r"^Gradio's tunnel cannot be opened: There is no network\.$"):
        server_module._open_tunnel("127.0.0.1", 1)


def test_two_servers_do_not_share_a_work_folder(server: WebServer, error: Any) -> None:
    assert "Another betwixt web uses" in error("--work", str(server.work))


def test_nothing_is_shown_without_the_password_and_uploads_are_limited(tmp_path: Path, clips: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass word:ü\n", encoding="utf-8")
    options = ("--user", "ann", "--password-file", str(secret), "--max-upload", "0.0001")
    server = WebServer(tmp_path / "work", clips, options)
    try:
        for path in ("/", "/config", "/videos/x", "/gradio_api/file=x", "/static/betwixt/page.css", "/theme.css"):
            assert server.request(path)[0] == 401, path
        for wrong in (basic("ann", "pass word"), basic("bob", "pass word:ü"), {"Authorization": "Basic %%%"}):
            assert server.request("/", headers=wrong)[0] == 401
        known = basic("ann", "pass word:ü")
        assert server.request("/", headers=known)[0] == 200
        assert server.request("/gradio_api/upload", *form("x.mp4", bytes(90_000), **known))[0] == 200
        for size in (150_000, 500_000):  # one is larger than an upload may be, the other than all together
            assert server.request("/gradio_api/upload", *form("x.mp4", bytes(size), **known))[0] == 413
        kept = [path.stat().st_size for path in (server.work / "received").rglob("*.mp4")]
        assert kept == [90_000]
    finally:
        assert server.stop() == 0
