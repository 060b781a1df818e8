"""make demo: a sample clip made smooth, or a clip of one's own."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

from betwixt.cli import report
from betwixt.errors import BetwixtError
from betwixt.pipeline.interpolate import default_output, interpolate_video

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Make the sample clip (or take the given one), double its rate to at least 48 frames a second, say where it is."""
    folder = Path("demo")
    folder.mkdir(exist_ok=True)
    try:
        if arguments and arguments[0]:
            source = Path(arguments[0])
            print(f"Your clip: {source}")
        else:
            from betwixt.media.sample import make_sample

            source = folder / "sample.mp4"
            print(f"Making a sample clip: {source}")
            make_sample(source, rate=Fraction(24000, 1001))
        target = folder / default_output(source.name)
        with report.ProgressReport() as bar:
            summary = interpolate_video(source, target, overwrite=True, progress=bar)
    except BetwixtError as error:
        print(f"betwixt: {error}", file=sys.stderr)
        return error.exit_code
    report.print_summary(summary, sys.stdout)
    report.print_notes(summary.notes, summary.lost)
    print(f"\nThe source:  {source}\nThe result:  {target}")
    print("\nYour own:    .venv/bin/betwixt interpolate IN OUT --fps 60")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
