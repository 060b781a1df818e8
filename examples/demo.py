"""Double the frame rate of a video.

    python examples/demo.py              draws a sample clip, demo/sample.mp4, and doubles its frame rate
    python examples/demo.py CLIP.mp4     doubles the frame rate of CLIP.mp4

The result is demo/NAME-smooth.mp4. `make demo` and `make demo VIDEO=CLIP.mp4` do the same from a fresh clone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from betwixt.cli.main import run
from sample import make_sample

FOLDER = Path("demo")


def main(arguments: list[str]) -> int:
    """Convert the video named in `arguments`, or the sample clip; returns the exit code."""
    FOLDER.mkdir(exist_ok=True)
    if arguments:
        source = Path(arguments[0])
        print(f"Your clip: {source}")
    else:
        source = FOLDER / "sample.mp4"
        print(f"Making a sample clip: {source}")
        make_sample(source)
    target = FOLDER / f"{source.stem}-smooth{source.suffix or '.mp4'}"
    if code := run(["interpolate", "--overwrite", "--", str(source), str(target)]):
        return code
    print(f"\nThe source:  {source}\nThe result:  {target}")
    command = Path(sys.executable).with_name("betwixt")
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    print(f"\nYour own:    {command} interpolate IN.mp4 OUT.mp4 --fps 60")
    print(f"More:        {command} --help")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
