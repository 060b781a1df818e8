"""What raw requests can do: nothing beyond what the page offers."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from web_server import form


def file_data(path: str, url: str | None = None) -> dict[str, Any]:
    return {"path": path, "url": url, "meta": {"_type": "gradio.FileData"}}


def event_of_upload(server: Any) -> int:
    """The number of the event that takes uploads into the library."""
    config = json.loads(server.request("/config")[1])
    files = [c["id"] for c in config["components"] if c["type"] == "file"]
    return int(next(d["id"] for d in config["dependencies"] if d["targets"] and d["targets"][0][0] in files))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "[::1", "10.0.0.1"])
def test_other_host_names_are_refused(server: Any, host: str) -> None:
    assert server.request("/", headers={"Host": host})[0] == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:7860"])
def test_names_of_this_machine_are_accepted(server: Any, host: str) -> None:
    assert server.request("/", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost.evil.example"]
)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/run/predict"])
def test_requests_of_other_sites_change_nothing(server: Any, origin: str, path: str) -> None:
    assert server.request(path, b"{}", headers={"Origin": origin})[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file={work}/jobs/queue.json",
        "/gradio_api/file={work}/lock",
        "/gradio_api/file={work}/received/../lock",
        "/gradio_api/file={clips}/small.mp4",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/videos/..%2f..%2fetc%2fpasswd",
        "/videos/%00",
        "/videos/small.mp4",
        "/jobs/../lock/output",
        "/jobs/x/view/before",
        "/static/betwixt/..%2fserver.py",
        "/static/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_address_leads_to_other_files(server: Any, path: str) -> None:
    path = path.format(work=quote(str(server.work)), clips=quote(str(server.folder)))
    status, content = server.request(path)
    assert status in (400, 403, 404), path
    assert b"root:" not in content


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{work}/lock", "{work}/received/../lock", "lock", "http://127.0.0.1:1/x"]
)
@pytest.mark.parametrize("address", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/run/predict/"])
def test_a_payload_cannot_name_a_file_of_the_server(server: Any, path: str, address: str) -> None:
    data = [[file_data(path.format(work=server.work))]]
    body = {"data": data, "fn_index": event_of_upload(server), "session_hash": "x"}
    status, content = server.request(address, json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert (status, content) == (403, b"The request names a file that was not uploaded.\n")


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_refused(server: Any, body: bytes) -> None:
    assert server.request("/gradio_api/queue/join", body)[0] == 403


@pytest.mark.parametrize(
    "name",
    ["../../../x.mp4", "..%2f..%2fx.mp4", "a%00b.mp4", "x" * 1000 + ".mp4", "\u202e4pm.sh", "/etc/x", "'\\\"$(id).mp4"],
)
def test_uploads_with_hostile_names_stay_where_they_belong(server: Any, name: str) -> None:
    status, content = server.request("/gradio_api/upload", *form(name, b"content"))
    assert status == 200, content
    (path,) = json.loads(content)
    received = Path(server.work, "received").resolve()
    assert Path(path).resolve().is_relative_to(received)


def test_an_upload_that_claims_more_than_it_sends_leaves_nothing(server: Any) -> None:
    body, headers = form("claim.mp4", bytes(1000))
    before = set(Path(server.work, "received").rglob("*"))
    host, port = urlsplit(server.address).netloc.split(":")
    with socket.create_connection((host, int(port))) as connection:
        lines = [
            "POST /gradio_api/upload HTTP/1.1", f"Host: {host}", f"Content-Length: {2 << 30}",
            *(f"{key}: {value}" for key, value in headers.items()), "", "",
        ]  # fmt: skip
        connection.sendall("\r\n".join(lines).encode() + body)
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):  # it waits for the rest
            assert not connection.recv(100).startswith(b"HTTP/1.1 200")
    assert server.request("/config")[0] == 200
    files = {path for path in set(Path(server.work, "received").rglob("*")) - before if path.is_file()}
    assert sum(path.stat().st_size for path in files) <= 1000


@pytest.mark.parametrize(("length", "status"), [("20000000000", 413), ("-1", 411), ("", 411), ("1e3", 411)])
def test_uploads_must_say_how_large_they_are(server: Any, length: str, status: int) -> None:
    assert server.request("/gradio_api/upload", b"", headers={"Content-Length": length})[0] in (status, 400)


def test_every_answer_forbids_what_comes_from_elsewhere(server: Any) -> None:
    import urllib.request

    for path in ("", "config", "static/betwixt/player.js", "jobs/none/output"):
        try:
            answer = urllib.request.urlopen(server.address + path)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
