"""Published figures: every number of the result tables of five papers, as printed.

`published.csv` holds one number a row, so that a measurement can stand beside the figure it is compared with:

    rife                 Real-Time Intermediate Flow Estimation for Video Frame Interpolation (ECCV 2022)
    daek                 Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation
    apr-vfi              Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation
    ncm                  Neighbor Correspondence Matching for Flow-based Video Frame Synthesis
    hierarchical-motion  Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation

RIFE's own tables were not available: its rows are few and second-hand, and each has a note on where it was found.
All other figures are the paper's, misprints included; a note says what is doubtful about a figure.

Columns: `table` is the paper's table number in Arabic digits, "text" for figures of the running text, "readme" for the
authors' repository. A method named "A over B" is a comparison. `dataset` is Betwixt's name of the data set, with a
suffix for a special setting ("-extrapolation", "-480p"); "average" is NCM's mean of its columns; a frame size such as
"1080p" is used for a cost that belongs to no data set, "-" where no data set applies. Figures of the same data set in
different papers may have been measured differently: PSNR and SSIM depend on rounding, colour space and window.

The metrics and their units:

    psnr             dB                        flops          10^12, for one new frame
    ssim             1                         flops-saved    %
    ie               8-bit levels              runtime        ms (converted where the paper prints s; see the note)
    psnr-gain        dB, of A over B           runtime-gain   ms that A is faster than B
    parameters       millions                  runtime-saved  %
    parameter-ratio  how many times fewer      speedup        how many times faster (-min, -max: of a range)
    bpp              bits per pixel            bits-saved     %
    memory           GB
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class PublishedFigure:
    """One published number."""

    paper: str  # the paper that reports it: "rife", "daek", "apr-vfi", "ncm" or "hierarchical-motion"
    table: str  # the table of that paper ("1", "2a"), "text" or "readme"
    method: str  # the method that was measured; each has the same spelling in all papers
    dataset: str  # the data set; see the module
    metric: str  # what was measured; see the module for the units
    value: float
    printed: str  # the number with the digits of the print ("35.40")
    note: str  # what is doubtful, or where the number was found; "" if there is nothing to note


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """All published figures, paper by paper, table by table.

    >>> published_figures()[0].method
    'RIFE'
    """
    text = files("betwixt.evaluation").joinpath("published.csv").read_text(encoding="utf-8")
    rows: Any = csv.DictReader(text.splitlines())
    return tuple(PublishedFigure(**{**row, "printed": row["value"], "value": float(row["value"])}) for row in rows)


def find_published_figures(dataset: str, metrics: Iterable[str]) -> list[PublishedFigure]:
    """The published figures of one data set (exactly this name) and of these metrics, in the order of the file.

    >>> [(figure.method, figure.printed) for figure in find_published_figures("middlebury", ["ie"])]
    [('RIFE', '1.96'), ('RIFE', '1.956')]
    """
    wanted = set(metrics)
    return [figure for figure in published_figures() if figure.dataset == dataset and figure.metric in wanted]
