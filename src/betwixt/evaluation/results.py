"""The results page and the README's tables, written from the tables in results/.

    python -m betwixt.evaluation.results [PROJECT]

    results/quality.csv      betwixt evaluate --record        ─┐
    results/cost.csv         betwixt benchmark --record       ─┼─► docs/results.md, the marked parts of README.md
    results/conversion.csv   betwixt benchmark --end-to-end   ─┤
    results/realtime.csv     betwixt realtime --record        ─┘

Nothing is measured here and nothing is typed in: a test compares the pages with what this gives.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from betwixt.errors import BetwixtError, InputError
from betwixt.evaluation.datasets import DATASETS
from betwixt.evaluation.published import published_figures
from betwixt.files import write_atomically

__all__ = ["pages", "readme_part", "results_page"]

Rows = list[dict[str, str]]

_BEGIN, _END = "<!-- results: begin -->", "<!-- results: end -->"

_INTRODUCTION = """\
Made by `make results` from the tables in [results/](../results), which hold what was measured: model, hash of the
weights, protocol, date and machine. Means are over frames; in brackets the 95 % confidence interval of the mean
(bootstrap, over sequences where a set has several frames of one). [evaluate](how-to/evaluate.md) says what each metric
is.
""".splitlines()

_NAMES = {
    "ucf101": "UCF101",
    "middlebury": "Middlebury OTHER",
    "frames": "Consecutive frames",
    "vimeo90k": "Vimeo-90K",
    "video": "Video",
}
_README_SETS = (("ucf101", ""), ("middlebury", ""), ("frames", "davis_dev"), ("frames", "davis_dev, curved paths"))
_README_MODELS = {
    "average": "mean of the two frames",
    "dis-midpoint": "DIS midpoint (half of OpenCV's DIS flow)",
    "minterpolate": "ffmpeg minterpolate",
    "rife-4.6": "RIFE 4.6, its author's weights",
    "dis": "**betwixt, dis**",
    "compact": "**betwixt, compact**",
    "compact-large": "**betwixt, compact-large**",
    "hybrid": "**betwixt, hybrid (the default)**",
}
_README_PUBLISHED = (
    ("rife", "2", "RIFE"),
    ("daek", "1", "IFRNet"),
    ("daek", "1", "EBME"),
    ("ncm", "1", "NCM-Base"),
    ("daek", "1", "DAEK"),
    ("ncm", "1", "NCM-Large"),
)
"""Papers, their tables and the methods whose published figures stand in the README."""


def _read(path: Path) -> Rows:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError:
        raise InputError(f"{path} is missing: run this in the project, or give its folder.") from None


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---'] + ['---:'] * (len(header) - 1))}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _mean(row: dict[str, str], metric: str, digits: int) -> str:
    return f"{float(row[metric]):.{digits}f}" if row.get(metric) else ""


def _interval(row: dict[str, str], metric: str, digits: int) -> str:
    if not row.get(metric):
        return ""
    low, high = (float(row[f"{metric}_{end}"]) for end in ("low", "high"))
    return f"{_mean(row, metric, digits)} ({low:.{digits}f} to {high:.{digits}f})"


def _groups(quality: Rows) -> dict[tuple[str, str], Rows]:
    groups: dict[tuple[str, str], Rows] = {}
    for row in quality:
        groups.setdefault((row["dataset"], row["options"]), []).append(row)
    order = list(DATASETS)
    return dict(sorted(groups.items(), key=lambda g: (order.index(g[0][0].removesuffix("-extrapolation")), g[0])))


def results_page(quality: Rows, cost: Rows, conversion: Rows, calls: Rows) -> str:
    """docs/results.md."""
    lines = [
        "# Results",
        "",
        *_INTRODUCTION,
        "",
        "## Quality",
    ]
    for (dataset, options), rows in _groups(quality).items():
        plain = dataset.removesuffix("-extrapolation")
        name = _NAMES.get(plain, plain) + (", the frame after" if plain != dataset else "")
        count = max(int(row["count"]) for row in rows)
        lines += ["", f"### {name}{f' ({options})' if options else ''}", ""]
        lines += [f"`{dataset}`: {rows[0]['protocol']}; {count} frames.", ""]
        ordered = sorted(rows, key=lambda row: float(row["psnr"] or 0))
        lines += _table(
            ("model", "PSNR, dB", "not rounded", "of luma", "SSIM", "IE", "frames", "weights", "date"),
            (
                (
                    _model(row),
                    _interval(row, "psnr", 2),
                    _mean(row, "psnr_float", 2),
                    _mean(row, "psnr_y", 2),
                    _mean(row, "ssim", 4),
                    _mean(row, "ie", 3),
                    row["count"],
                    f"`{row['weights_hash']}`" if row["weights_hash"] else "none",
                    row["date"],
                )
                for row in ordered
            ),
        )
        lines += ["", f"<sub>Measured on {_machines(rows)}.</sub>"]
        theirs = _published(dataset.replace("ucf101", "ucf101-clean") if options == "clean" else dataset)
        if theirs:
            lines += ["", "As published, not measured here:", "", *theirs]
    lines += ["", "## Cost", ""]
    lines += [
        "One frame from two RGB pictures in memory; the median, and in brackets the quartiles. One multiply-add",
        "counts as two FLOP. Networks marked * ran without trained weights, which does not change what they cost.",
        "",
    ]
    for size, rows in _by(cost, "size").items():
        lines += [f"### {size}", ""]
        lines += _table(
            ("model", "runs on", "parameters", "GFLOP", "ms a frame", "peak memory, MB", "date"),
            (
                (
                    row["model"] + ("" if row["trained"] == "yes" else " *"),
                    f"{row['device']} {row['runtime']} {row['precision']}",
                    f"{int(row['parameters']) / 1e6:.2f} M" if int(row["parameters"]) else "none",
                    f"{float(row['gflop']):.1f}" if row["gflop"] else "",
                    "{:.0f} ({:.0f} to {:.0f})".format(
                        *(float(row[name]) for name in ("milliseconds", "quartile_1", "quartile_3"))
                    ),
                    row["peak_memory_mb"],
                    row["date"],
                )
                for row in sorted(rows, key=lambda row: float(row["milliseconds"]))
            ),
        )
        lines += ["", f"<sub>Measured on {_machines(rows)}.</sub>", ""]
    lines += ["![Quality over time a frame](../results/quality.png)", ""]
    lines += ["## Whole conversions", ""]
    lines += [
        "The rate of a clip doubled by whole processes, start and decoding included, beside ffmpeg's minterpolate, by",
        "turns in the same run. Where the encoder is none, the frames are made and thrown away.",
        "",
    ]
    lines += _table(
        ("model", "clip", "size", "encoder", "new frames/s", "minterpolate", "ratio", "rounds", "date"),
        (
            (
                row["model"],
                row["clip"],
                row["size"],
                row["encoder"],
                f"{float(row['frames_per_second']):.1f}",
                f"{float(row['minterpolate_frames_per_second']):.1f}",
                row["ratio"],
                row["rounds"],
                row["date"],
            )
            for row in conversion
        ),
    )
    lines += ["", f"<sub>Measured on {_machines(conversion)}.</sub>", ""]
    lines += _calls(calls)
    return "\n".join(lines)


def _calls(calls: Rows) -> list[str]:
    """The simulated calls."""
    lines = [
        "## Real-time video",
        "",
        "Simulated calls ([realtime](how-to/realtime.md)): the four schemes of NCM's appendix E at the same bits. The",
        "times are of a picture, made one after the other; *missed* is the share that took longer than a tick;",
        "where the machine was busy with other work they are left out.",
        "",
    ]
    groups: dict[tuple[str, ...], Rows] = {}
    for row in calls:
        groups.setdefault(tuple(row[k] for k in ("clip", "size", "model", "factor", "network", "seed")), []).append(row)
    order = ("scheme 1", "scheme 2", "interpolation", "extrapolation")
    for (clip, size, model, factor, network, seed), rows in sorted(groups.items()):
        lines += [
            f"### {clip}, {size}, {model}, one frame of {factor}, network {network} (seed {seed})",
            "",
            *_table(
                ("scheme", "kbit/s", "PSNR, dB", "SSIM", "flicker", "delay, ms", "standing", "ms", "missed", "date"),
                (
                    (
                        row["scheme"],
                        row["kbit_per_second"],
                        _mean(row, "psnr", 2),
                        row["ssim"],
                        _mean(row, "flicker", 2),
                        row["delay_ms"],
                        f"{100 * float(row['standing']):.0f} %",
                        row["ms_median"],
                        f"{100 * float(row['missed']):.0f} %" if row["missed"] else "",
                        row["date"],
                    )
                    for row in sorted(rows, key=lambda row: order.index(row["scheme"]))
                ),
            ),
            "",
            f"<sub>Measured on {_machines(rows)}.</sub>",
            "",
        ]
    return lines


def _by(rows: Rows, column: str) -> dict[str, Rows]:
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def _model(row: dict[str, str]) -> str:
    """The model of a line, and what is particular about it."""
    notes = [] if row["precision"] in ("", "fp32") else [row["precision"]]
    notes += [] if row["complete"] == "yes" else ["incomplete"]
    return f"{row['model']} ({', '.join(notes)})" if notes else row["model"]


def _machines(rows: Rows) -> str:
    return "; ".join(dict.fromkeys(row["machine"] for row in rows))


def _published(dataset: str) -> list[str]:
    """The papers' figures of a data set, one line a method and paper."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in published_figures():
        if row.dataset == dataset and row.metric in ("psnr", "ssim", "ie"):
            found.setdefault((row.paper, row.table, row.method), {})[row.metric] = row.printed
    if not found:
        return []
    return _table(
        ("method", "PSNR, dB", "SSIM", "IE", "paper, table"),
        (
            (method, figures.get("psnr", ""), figures.get("ssim", ""), figures.get("ie", ""), f"{paper}, {table}")
            for (paper, table, method), figures in found.items()
        ),
    )


def _published_rows() -> list[tuple[str, ...]]:
    """Lines of the README's table for `_README_PUBLISHED`: the methods and a cell for each data set."""
    lines: list[tuple[str, ...]] = []
    for key in _README_PUBLISHED:
        figures = {
            (row.dataset, row.metric): row.printed
            for row in published_figures()
            if (row.paper, row.table, row.method) == key
        }
        psnr, error = figures.get(("ucf101", "psnr")), figures.get(("middlebury", "ie"))
        lines.append((f"{key[2]}, as published", f"{psnr} dB", f"IE {error}" if error else "-", "-", "-"))
    return lines


def readme_part(quality: Rows, conversion: Rows) -> str:
    """The README's tables, between its two marks."""
    cells: dict[str, list[str]] = {}
    heads = []
    for dataset, options in _README_SETS:
        rows = {
            row["model"]: row
            for row in quality
            if (row["dataset"], row["options"]) == (dataset, options) and row["precision"] in ("", "fp32")
        }
        count = max((int(row["count"]) for row in rows.values()), default=0)
        name = "DAVIS, four frames" if "curved" in options else "DAVIS" if dataset == "frames" else _NAMES[dataset]
        heads.append(f"{name} ({count})")
        for model in _README_MODELS:
            row = rows.get(model)
            missing = "uses two frames" if "curved" in options else "needs a video"
            text = missing if row is None else f"{_mean(row, 'psnr', 2)} dB"
            if row is not None and row["complete"] != "yes":
                text += " (incomplete)"
            if row is not None and dataset == "middlebury":
                text += f", IE {_mean(row, 'ie', 2)}"
            cells.setdefault(model, []).append(text)
    known = {row["model"] for row in quality}
    measured = [(_README_MODELS[m], *cells[m]) for m in _README_MODELS if m in known]
    lines = _table(("method", *heads), [*measured, *_published_rows()])
    lines += [
        "",
        "<sub>Mean PSNR of the new frames at 8 bits per channel, by `betwixt evaluate`; in brackets the number of",
        "frames. IE is the interpolation error: lower is better. Benchmarks give a model two frames; in conversions",
        "and in the last column, `dis`, `compact` and `hybrid` also use the frames before and after. Lines marked",
        "*as published* are copied from the papers, not measured here: Betwixt does not ship those weights.",
        "[Results](docs/results.md) has all figures with confidence intervals, protocols and machines.</sub>",
        "",
    ]
    lines += _table(
        ("conversion to twice the frame rate: new frames per second", "Betwixt", "minterpolate, same run", "ratio"),
        (
            (
                f"{row['model']}, {row['size']}, "
                + ("without encoding" if row["encoder"] == "none" else f"encoded by {row['encoder']}"),
                f"{float(row['frames_per_second']):.1f}",
                f"{float(row['minterpolate_frames_per_second']):.1f}",
                row["ratio"],
            )
            for row in sorted(conversion, key=lambda row: (row["encoder"] == "none", row["model"]))
        ),
    )
    return "\n".join(lines)


def pages(project: Path) -> dict[Path, str]:
    """What the pages should hold.

    Raises:
        InputError: if a table or the README's marks are missing.
    """
    names = ("quality", "cost", "conversion", "realtime")
    quality, cost, conversion, calls = (_read(project / "results" / f"{name}.csv") for name in names)
    readme = project / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise InputError(f"{readme} has no marks {_BEGIN} and {_END}.")
    return {
        project / "docs" / "results.md": results_page(quality, cost, conversion, calls),
        readme: f"{before}{_BEGIN}\n{readme_part(quality, conversion)}\n{_END}{after}",
    }


def main() -> int:
    """Write the pages."""
    try:
        for path, text in pages(Path(sys.argv[1]) if len(sys.argv) > 1 else Path()).items():
            write_atomically(path, text)
            print(f"written: {path}")
    except BetwixtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
