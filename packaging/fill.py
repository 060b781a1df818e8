"""Fill the Homebrew formula and the conda recipe with the version and the hash of a source distribution.

    python packaging/fill.py dist/betwixt-0.2.0.tar.gz OUT

writes OUT/betwixt.rb and OUT/recipe.yaml.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

TEMPLATES = ("homebrew/betwixt.rb.in", "conda/recipe.yaml.in")


def fill(distribution: Path, target: Path) -> list[Path]:
    """Write the filled files to a folder, which is made; returns their paths."""
    found = re.fullmatch(r"betwixt-(.+)\.tar\.gz", distribution.name)
    if found is None or not distribution.is_file():
        raise SystemExit(f"{distribution} is not a source distribution of Betwixt: expected betwixt-VERSION.tar.gz.")
    digest = hashlib.sha256(distribution.read_bytes()).hexdigest()
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for template in TEMPLATES:
        text = (Path(__file__).parent / template).read_text("utf-8")
        path = target / Path(template).stem
        path.write_text(text.replace("@VERSION@", found[1]).replace("@SHA256@", digest), "utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("Usage: python packaging/fill.py dist/betwixt-VERSION.tar.gz OUT")
    for path in fill(Path(sys.argv[1]), Path(sys.argv[2])):
        print(path)
