"""Shared by all tests."""

import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

for folder in ("", "evaluation"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

# It registers a device, which a process can do once: not to be imported under another name in search of doctests.
collect_ignore = ["elsewhere.py"]

# No test finds the weights that whoever runs it has installed.
os.environ["BETWIXT_WEIGHTS"] = str(Path(__file__).parent / "no weights")

# Tests import OpenVINO, too: nobody is to be told (`runtime.openvino`).
if importlib.util.find_spec("openvino") is not None:
    importlib.import_module("betwixt.backends.openvino").supports_precision("fp32")

# What is compiled stays out of the cache of whoever runs it, and serves all tests of one run.
_cache = tempfile.TemporaryDirectory(prefix="betwixt-cache-")
os.environ["BETWIXT_CACHE"] = _cache.name
