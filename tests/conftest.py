"""Shared by all tests."""

import os
import sys
from pathlib import Path

for folder in ("", "evaluation"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

# No test finds the weights that whoever runs it has installed.
os.environ["BETWIXT_WEIGHTS"] = str(Path(__file__).parent / "no weights")
