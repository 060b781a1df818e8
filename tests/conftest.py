"""Shared by all tests."""

import sys
from pathlib import Path

for folder in ("", "evaluation"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
