"""betwixt web: the page in the browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from betwixt.cli import flags
from betwixt.cli import options as o
from betwixt.errors import UsageError
from betwixt.pipeline.options import check_choice


def web(
    folder: Annotated[o.File, typer.Argument(metavar="[FOLDER]", help="Videos in this folder can be chosen.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen at; others than localhost need a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[o.Number, typer.Option(help="The port. Default: the first free one from 7860 on.")] = None,
    share: Annotated[
        str, typer.Option(metavar="no|yes", help="Also open it to the internet, through Gradio's tunnel.")
    ] = "no",
    user: Annotated[str, typer.Option(metavar="NAME", help="The user name that goes with the password.")] = "betwixt",
    password: Annotated[
        o.Text, typer.Option(help="The password to ask for; better in BETWIXT_WEB_PASSWORD, where nobody sees it.")
    ] = None,
    password_file: Annotated[o.File, typer.Option(metavar="FILE", help="Or a file that holds it.")] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="The model that is chosen at first.")] = "auto",
    work: Annotated[
        o.File, typer.Option(metavar="DIR", help="Where uploads and outputs are kept. Default: in the cache folder.")
    ] = None,
    max_upload: Annotated[float, typer.Option(metavar="GB", help="The largest upload.")] = 4.0,
    keep_days: Annotated[float, typer.Option(metavar="DAYS", help="Then uploads and outputs are removed.")] = 7.0,
) -> None:
    """Open a page in the browser: convert videos, watch the queue, try models.

    Examples:
        betwixt web
        betwixt web --port 8000
    """
    from betwixt.machine import cache_folder
    from betwixt.web.guard import Credentials
    from betwixt.web.library import Limits
    from betwixt.web.server import Settings, serve

    check_choice("share", share, ("no", "yes"))
    secret = _password(password, password_file)
    if max_upload <= 0 or keep_days <= 0:
        raise UsageError("`max_upload` and `keep_days` must be greater than 0.")
    if port is not None and not 0 <= port < 1 << 16:
        raise UsageError(f"`port` is {port}: choose one from 0 (any free one) to 65535.")
    settings = Settings(
        work=work or cache_folder("web"),
        folder=folder,
        host=host,
        port=port,
        credentials=None if secret is None else Credentials(user, secret),
        limits=Limits(file_bytes=round(max_upload * 1e9), total_bytes=round(4 * max_upload * 1e9), days=keep_days),
        model=model,
        share=share == "yes",
    )
    try:
        serve(settings, flags.translate, _announce)
    except KeyboardInterrupt:
        print("Ended. The next betwixt web goes on with unfinished jobs.")


def _announce(address: str) -> None:
    print(f"Betwixt is at {address} (Ctrl-C ends it).", flush=True)


def _password(given: str | None, file: Path | None) -> str | None:
    """The password from the command line, a file or the environment; None if there is none."""
    if given is not None and file is not None:
        raise UsageError("`password` and `password_file` exclude each other: give one.")
    if file is not None:
        try:
            given = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"{file} cannot be read: it must be a text file with the password alone.") from None
    given = os.environ.get("BETWIXT_WEB_PASSWORD") if given is None else given
    if given == "":
        raise UsageError("The password is empty: give one with at least one character.")
    return given
