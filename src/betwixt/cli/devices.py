"""betwixt devices: where networks can run on this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict

from betwixt.cli import options as o
from betwixt.cli.report import open_console, print_json, print_table


def devices(as_json: o.AsJson = False) -> None:
    """List the devices that networks can run on (--device), what runs them (--runtime), and what others would need.

    Examples:
        betwixt devices
        betwixt devices --json
    """
    from betwixt.backends.backend import list_devices

    found = list_devices()
    if as_json:
        print_json({"devices": [asdict(status) for status in found]}, sys.stdout)
        return
    rows = [(s.device, s.engine, "yes" if s.available else "no", s.note) for s in found]
    print_table(open_console(sys.stdout), ("device", "runtime", "here", ""), rows, left=(0, 1, 2, 3), wrap=(3,))
