"""What the papers report: every number of their result tables, one a row, as printed.

`published.csv` holds the tables of five papers, so that a measurement can stand beside the figure it is compared with:

    rife                 Real-Time Intermediate Flow Estimation for Video Frame Interpolation (ECCV 2022)
    daek                 Dual Motion Attention and Enhanced Knowledge Distillation for Video Frame Interpolation
    apr-vfi              Alignment-aware Patch-level Routing for Dynamic Video Frame Interpolation
    ncm                  Neighbor Correspondence Matching for Flow-based Video Frame Synthesis
    hierarchical-motion  Aligning Anything: Hierarchical Motion Estimation for Video Frame Interpolation

RIFE's own tables were not at hand: its rows are second-hand and few, and the note of each says where it was found.
Everywhere else the figures are the paper's, misprints included; a note says what is doubtful about a figure.

Columns: `table` is the paper's number in arabic figures, "text" for what only the running text says, "readme" for the
authors' repository. A method named "A over B" is a comparison. `dataset` is the data set's name here, with a suffix for
a special setting ("-extrapolation", "-480p"); "average" is NCM's mean of its columns; a frame size such as "1080p"
stands where a cost belongs to no data set, "-" where there is nothing to say. Figures of the same data set in different
papers need not have been measured alike: PSNR and SSIM differ with rounding, colour and window.

The metrics and their units:

    psnr             dB                        flops          10^12, for one new frame
    ssim             1                         flops-saved    %
    ie               8-bit levels              runtime        ms (where the paper prints s, the note says so)
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

__all__ = ["Published", "published", "published_for"]


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        paper: "rife", "daek", "apr-vfi", "ncm" or "hierarchical-motion": the paper that reports it.
        table: Which table of that paper ("1", "2a"), "text" or "readme".
        method: Whose figure it is; spelt alike in all papers.
        dataset: On what; see the module.
        metric: What was measured; see the module for the units.
        value: The number.
        printed: The number with the digits of the print ("35.40").
        note: What is doubtful, or where it was found; "" if there is nothing to say.
    """

    paper: str
    table: str
    method: str
    dataset: str
    metric: str
    value: float
    printed: str
    note: str


@cache
def _rows() -> tuple[Published, ...]:
    text = files("betwixt.evaluation").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            paper=row["paper"],
            table=row["table"],
            method=row["method"],
            dataset=row["dataset"],
            metric=row["metric"],
            value=float(row["value"]),
            printed=row["value"],
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def published() -> list[Published]:
    """All published numbers, paper by paper, table by table.

    >>> published()[0].method
    'RIFE'
    """
    return list(_rows())


def published_for(dataset: str, metrics: Iterable[str]) -> list[Published]:
    """The published numbers of one data set (exactly this name) and of these metrics, in the order of the file.

    >>> [(row.method, row.printed) for row in published_for("middlebury", ["ie"])]
    [('RIFE', '1.96'), ('RIFE', '1.956')]
    """
    wanted = frozenset([metrics] if isinstance(metrics, str) else metrics)
    return [row for row in _rows() if row.dataset == dataset and row.metric in wanted]
