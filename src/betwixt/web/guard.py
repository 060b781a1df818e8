"""What every request has to pass before the page sees it.

- *Host*: on this machine alone, the page answers only to this machine's names. Otherwise a web site could give its own
  name the address 127.0.0.1 and read the page (DNS rebinding).
- *Origin*: a request that changes something must come from the page itself, not from another web site.
- *Password*: HTTP Basic, for every address of the page.
- *Uploads*: they must say how large they are, and be within the limits.
- *Files*: Gradio's components name files by their paths; a request can only name files that were uploaded.

Every answer carries headers that forbid the browser to load anything from elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from betwixt.web.library import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names by which a machine calls itself."""

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'none'; frame-ancestors 'none'; object-src 'none'; form-action 'self'; "
    "base-uri 'self'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_UPLOAD = "/gradio_api/upload"
_MAX_BODY = 16 << 20
"""The largest request that is not an upload, in bytes."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Credentials:
    """Who may use the page."""

    user: str
    password: str

    def match(self, header: str) -> bool:
        """Whether an Authorization header holds them."""
        kind, _, value = header.partition(" ")
        try:
            given = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return False
        # Both sides as bytes, compared in a time that tells nothing about them.
        return kind.lower() == "basic" and hmac.compare_digest(given, f"{self.user}:{self.password}".encode())


class Guard:
    """An ASGI application in front of the page.

    Args:
        app: The page.
        received: The folder in which the server puts uploads.
        limits: What uploads may take.
        hosts: The names of the server that requests may use; None for any.
        credentials: Who may use the page; None for everybody who reaches it.
    """

    def __init__(
        self,
        app: Application,
        received: Path,
        limits: Limits,
        hosts: frozenset[str] | None,
        credentials: Credentials | None,
    ) -> None:
        self._app, self._received, self._limits = app, received, limits
        self._hosts, self._credentials = hosts, credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None and scope["type"] == "http" and scope["method"] == "POST" and not _is_upload(scope):
            body = await _read_body(receive)
            if body is None:
                refusal = 413, "The request is too large."
            elif not self._names_uploads_only(body):
                refusal = 403, "The request names a file that was not uploaded."
            else:
                receive = _replay(body, receive)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(_with_headers(send), *refusal)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and text by which a request is refused; None if it may pass."""
        host = headers.get("host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            return 421, "This page is for this machine alone: open it as http://127.0.0.1 or http://localhost."
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "The request comes from another web site."
        if self._credentials is not None and not self._credentials.match(headers.get("authorization", "")):
            return 401, "A user name and a password are needed."
        if changes and _is_upload(scope):
            return self._upload_refusal(headers)
        return None

    def _upload_refusal(self, headers: dict[str, str]) -> tuple[int, str] | None:
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return 411, "An upload must say how large it is."
        # Files that are dropped together come in one request; Gradio refuses those that are too large alone.
        waiting = sum(path.stat().st_size for path in self._received.rglob("*") if path.is_file())
        if waiting + int(length) > self._limits.total_bytes:
            return 413, f"Uploads may take {self._limits.total_bytes / 1e9:.3g} GB together."
        return None

    def _names_uploads_only(self, body: bytes) -> bool:
        """Whether all files that a request names by a path lie where the server puts uploads."""
        try:
            return all(self._is_received(path) for path in _named_paths(json.loads(body or b"null")))
        except (ValueError, RecursionError):
            return False

    def _is_received(self, path: object) -> bool:
        if path is None or path == "":
            return True
        if not isinstance(path, str) or "\0" in path:
            return False
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(self._received.resolve())


def _named_paths(value: Any) -> Iterator[object]:
    """What stands under the key "path" anywhere in a JSON document."""
    if isinstance(value, dict):
        if "path" in value:
            yield value["path"]
        for item in value.values():
            yield from _named_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _named_paths(item)


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.rstrip("/") == _UPLOAD


async def _read_body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)  # the client is gone
        body += message.get("body", b"")
        if len(body) > _MAX_BODY:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read already to the next reader."""
    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    return receive_again


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    """Add the headers of `_HEADERS` to an answer."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            added = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with_headers


async def _refuse(send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Betwixt", charset="UTF-8"'))
    if status in (411, 413):
        headers.append((b"connection", b"close"))  # the upload itself is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
