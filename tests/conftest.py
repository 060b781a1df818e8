"""Shared by all tests."""

import os
import sys
import tempfile
from pathlib import Path

for folder in ("", "evaluation"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

# No test finds the weights that whoever runs it has installed.
os.environ["BETWIXT_WEIGHTS"] = str(Path(__file__).parent / "no weights")

# What is compiled stays out of the cache of whoever runs it, and serves all tests of one run.
_cache = tempfile.TemporaryDirectory(prefix="betwixt-cache-")
os.environ["BETWIXT_CACHE"] = _cache.name
