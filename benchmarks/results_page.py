"""Writes docs/results.md and the README's tables from the tables in results/.

    python benchmarks/results_page.py [PROJECT]

    results/quality.csv      betwixt evaluate --record        ─┐
    results/cost.csv         betwixt benchmark --record       ─┼─► docs/results.md, the marked part of README.md
    results/conversion.csv   betwixt benchmark --end-to-end   ─┤
    results/realtime.csv     betwixt realtime --record        ─┤
    results/peers.csv        benchmarks/peers.py --record     ─┘

Nothing is measured here and no figure is typed by hand; a test compares the pages with what this script makes.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from betwixt.errors import BetwixtError, InputError
from betwixt.evaluation.datasets import DATASETS
from betwixt.evaluation.published import published_figures
from betwixt.files import write_atomically

Row = dict[str, str]
Groups = list[tuple[tuple[str, ...], list[Row]]]

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

INTRODUCTION = """\
Made by `make results` from the tables in [results/](../results), which record each measurement with its model, hash of
the weights, protocol, date and machine. Figures are means over frames, of *sharpness* medians; in brackets is the 95 %
confidence interval of the figure (bootstrap, over sequences where a set has several frames of one).
[evaluate](how-to/evaluate.md) defines each metric. Higher is better for PSNR, XPSNR, SSIM, SSIMULACRA 2 and VMAF,
nearer to 1 for sharpness, lower for the others.
""".splitlines()

DATASET_TITLES = {
    "ucf101": "UCF101",
    "middlebury": "Middlebury OTHER",
    "frames": "Consecutive frames",
    "vimeo90k": "Vimeo-90K",
    "video": "Video",
}
README_SETS = (("ucf101", ""), ("middlebury", ""), ("frames", "davis_dev"))
README_VISIBLE_SETS = (*README_SETS, ("frames", "davis_dev, every 12"))
README_MODELS = {
    "average": "mean of the two frames",
    "dis-midpoint": "DIS midpoint (half of OpenCV's DIS flow)",
    "minterpolate": "ffmpeg minterpolate",
    "rife-4.6": "RIFE 4.6, its author's weights",
    "dis": "**betwixt, dis**",
    "dis-psnr": "betwixt, dis-psnr (for benchmarks)",
    "compact": "**betwixt, compact**",
    "compact-psnr": "betwixt, compact-psnr (for benchmarks)",
    "compact-large": "**betwixt, compact-large**",
    "hybrid-psnr": "betwixt, hybrid-psnr (for benchmarks)",
    "hybrid": "**betwixt, hybrid (the default)**",
    "hybrid-large": "betwixt, hybrid-large",
}
README_PUBLISHED = (
    ("rife", "2", "RIFE"),
    ("daek", "1", "IFRNet"),
    ("daek", "1", "EBME"),
    ("ncm", "1", "NCM-Base"),
    ("daek", "1", "DAEK"),
    ("ncm", "1", "NCM-Large"),
)
"""Papers, their tables and the methods whose published figures stand in the README."""


# -- docs/results.md


def results_page(quality: list[Row], cost: list[Row], conversion: list[Row], calls: list[Row], peers: list[Row]) -> str:
    """docs/results.md."""
    lines = ["# Results", "", *INTRODUCTION, "", "## Quality"]
    for (dataset, options), rows in _group(quality, "dataset", "options", order=_dataset_order):
        lines += _quality_section(dataset, options, rows)
    lines += [
        "",
        "## Cost",
        "",
        "One frame from two RGB images in memory; the median, and in brackets the quartiles. One multiply-add",
        "counts as two FLOP. Networks marked * ran without trained weights, which does not change the cost.",
        "",
    ]
    for (size,), rows in _group(cost, "size"):
        lines += _cost_section(size, rows)
    lines += [
        "![Quality over time per frame](../results/quality.png)",
        "",
        "## Whole conversions",
        "",
        "A clip converted to twice its frame rate by whole processes, start and decoding included, beside ffmpeg's",
        "minterpolate, in turns in the same run. Where the encoder is none, the frames are made and discarded.",
        "",
        *_conversion_table(conversion),
        "",
        _measured_on(conversion),
        "",
        "## Beside other programs",
        "",
        "New frames of 4:2:0, made from frames in memory on all cores and thrown away: the median of several turns in",
        "one run, in which the methods alternate, and in brackets the quartiles. PSNR is of 8-bit RGB frames, made",
        "from 4:2:0 (bicubic, BT.601) of the first 40 frames of each sequence of `davis_dev`: each from the two beside",
        "it.",
        "`make peers`, then `python benchmarks/peers.py --frames DAVIS_DEV --record results/peers.csv`.",
        "",
        *_peers_section(peers),
        "## Real-time video",
        "",
        "Simulated calls ([realtime](how-to/realtime.md)): the four schemes of NCM's appendix E at the same bitrate.",
        "*standing* is the share of ticks that repeat the last image. The times are for making one image, one after",
        "the other; *missed* is the share that took longer than a tick; they are left out where the machine was busy",
        "with other work.",
        "",
    ]
    keys = ("clip", "size", "model", "factor", "network", "seed")
    for (clip, size, model, factor, network, seed), rows in _group(calls, *keys, order=lambda key: key):
        lines += [f"### {clip}, {size}, {model}, one frame of {factor}, network {network} (seed {seed})", ""]
        lines += [*_call_table(rows), "", _measured_on(rows), ""]
    return "\n".join(lines)


def _quality_section(dataset: str, options: str, rows: list[Row]) -> list[str]:
    base = dataset.removesuffix("-extrapolation")
    title = DATASET_TITLES.get(base, base) + (", the frame after" if base != dataset else "")
    count = max(int(row["count"]) for row in rows)
    ordered = sorted(rows, key=lambda row: float(row["psnr"] or 0))
    columns = {title: [cell(row) for row in ordered] for title, cell in _QUALITY_COLUMNS.items()}
    columns = {title: cells for title, cells in columns.items() if any(cells)}
    table = _table(list(columns), zip(*columns.values(), strict=True))
    lines = ["", f"### {title}{f' ({options})' if options else ''}", ""]
    lines += [f"`{dataset}`: {rows[0]['protocol']}; {count} frames.", "", *table, "", _measured_on(rows)]
    published = _published_table(dataset.replace("ucf101", "ucf101-clean") if options == "clean" else dataset)
    return lines + (["", "As published, not measured here:", "", *published] if published else [])


_QUALITY_COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: _model_label(row),
    "PSNR, dB": lambda row: _interval(row, "psnr", 2),
    "PSNR, float": lambda row: _score(row, "psnr_float", 2),
    "PSNR, luma": lambda row: _score(row, "psnr_y", 2),
    "SSIM": lambda row: _score(row, "ssim", 4),
    "IE": lambda row: _score(row, "ie", 3),
    "sharpness": lambda row: _interval(row, "sharpness_median", 3),
    "SSIMULACRA 2": lambda row: _interval(row, "ssimulacra2", 2),
    "pulse": lambda row: _score(row, "pulse", 2),
    "VMAF": lambda row: _score(row, "vmaf", 1),
    "XPSNR, dB": lambda row: _score(row, "xpsnr", 2),
    "FLIP": lambda row: _score(row, "flip", 4),
    "flicker": lambda row: _score(row, "flicker", 2),
    "frames": lambda row: row["count"],
    "weights": lambda row: f"`{row['weights_hash']}`" if row["weights_hash"] else "none",
    "date": lambda row: row["date"],
}
"""The columns of a data set's table; one without any figure is left out."""


def _published_table(dataset: str) -> list[str]:
    """The papers' figures for a data set, one line for each method and paper; empty if there are none."""
    figures: dict[tuple[str, str, str], Row] = {}
    for figure in published_figures():
        if figure.dataset == dataset and figure.metric in ("psnr", "ssim", "ie"):
            figures.setdefault((figure.paper, figure.table, figure.method), {})[figure.metric] = figure.printed
    if not figures:
        return []
    return _table(
        ("method", "PSNR, dB", "SSIM", "IE", "paper, table"),
        (
            (method, printed.get("psnr", ""), printed.get("ssim", ""), printed.get("ie", ""), f"{paper}, {table}")
            for (paper, table, method), printed in figures.items()
        ),
    )


def _cost_section(size: str, rows: list[Row]) -> list[str]:
    table = _table(
        ("model", "runs on", "parameters", "GFLOP", "ms per frame", "peak memory, MB", "date"),
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
    return [f"### {size}", "", *table, "", _measured_on(rows), ""]


def _conversion_table(rows: list[Row]) -> list[str]:
    return _table(
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
            for row in rows
        ),
    )


def _peers_section(peers: list[Row]) -> list[str]:
    """A table for each size of frames."""
    lines = []
    for (size,), rows in _group(peers, "size"):
        table = _table(
            (f"method, at {size}", "ms per new frame", "PSNR, dB", "frames", "version", "date"),
            (
                (
                    row["description"],
                    f"{row['milliseconds']} ({row['quartile_1']} to {row['quartile_3']})"
                    if row["milliseconds"]
                    else "",
                    row["psnr"],
                    row["frames"],
                    row["version"],
                    row["date"],
                )
                for row in sorted(rows, key=lambda row: float(row["milliseconds"] or "inf"))
            ),
        )
        notes = [f"Meanwhile: {note}." for note in dict.fromkeys(row["note"] for row in rows) if note]
        if not all(row["milliseconds"] for row in rows):
            notes.append("Times that are missing were not measured: the machine was busy with other work.")
        lines += [*table, "", *notes, _measured_on(rows), ""]
    return lines


def _call_table(rows: list[Row]) -> list[str]:
    order = ("scheme 1", "scheme 2", "interpolation", "extrapolation")
    return _table(
        ("scheme", "kbit/s", "PSNR, dB", "SSIM", "flicker", "delay, ms", "standing", "ms", "missed", "date"),
        (
            (
                row["scheme"],
                row["kbit_per_second"],
                _score(row, "psnr", 2),
                row["ssim"],
                _score(row, "flicker", 2),
                row["delay_ms"],
                f"{100 * float(row['standing']):.0f} %",
                row["ms_median"],
                f"{100 * float(row['missed']):.0f} %" if row["missed"] else "",
                row["date"],
            )
            for row in sorted(rows, key=lambda row: order.index(row["scheme"]))
        ),
    )


# -- README.md


def readme_tables(quality: list[Row], conversion: list[Row]) -> str:
    """The README's tables, between its two marks."""
    heads, cells = [], {model: [label] for model, label in README_MODELS.items()}
    for dataset, options in README_SETS:
        rows = _readme_rows(quality, dataset, options)
        heads.append(f"{_readme_title(dataset, options)} ({max((int(r['count']) for r in rows.values()), default=0)})")
        for model, line in cells.items():
            line.append(_readme_cell(rows.get(model), dataset) or ("needs a video" if model == "minterpolate" else ""))
    measured = {row["model"] for row in quality}
    lines = _table(
        ("method", *heads), [*(line for model, line in cells.items() if model in measured), *_readme_published()]
    )
    lines += [
        "",
        "<sub>Mean PSNR of the new frames at 8 bits per channel, by `betwixt evaluate`; in brackets the number of",
        "frames. IE is the interpolation error: lower is better. Benchmarks give a model two frames; in conversions,",
        "`dis`, `compact` and `hybrid` also use the frames before and after. Lines marked",
        "*as published* are copied from the papers, not measured here: Betwixt does not ship those weights.",
        "[Results](docs/results.md) has all figures with confidence intervals, protocols and machines.</sub>",
        "",
        *_readme_visible(quality),
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


def _readme_cell(row: Row | None, dataset: str) -> str:
    if row is None:
        return ""
    text = f"{_score(row, 'psnr', 2)} dB"
    if row["complete"] != "yes":
        text += " (incomplete)"
    return text + (f", IE {_score(row, 'ie', 2)}" if dataset == "middlebury" else "")


def _readme_rows(quality: list[Row], dataset: str, options: str) -> dict[str, Row]:
    """The rows of a data set by model, of models that compute in fp32 or have no network."""
    return {
        row["model"]: row
        for row in quality
        if (row["dataset"], row["options"]) == (dataset, options) and row["precision"] in ("", "fp32")
    }


def _readme_title(dataset: str, options: str) -> str:
    if dataset != "frames":
        return DATASET_TITLES[dataset]
    return "DAVIS, every 12th" if "every" in options else "DAVIS"


_VISIBLE = (
    ("sharpness", "sharpness_median", 2),
    ("SSIMULACRA 2", "ssimulacra2", 1),
    ("pulse", "pulse", 2),
    ("VMAF", "vmaf", 1),
)
"""The README's metrics of what the eye notices: title, column and digits."""


def _readme_visible(quality: list[Row]) -> list[str]:
    """The README's table of what the eye notices, for the data sets that were scored so; empty if none was."""
    columns: dict[str, list[str]] = {}
    for dataset, options in README_VISIBLE_SETS:
        rows = _readme_rows(quality, dataset, options)
        for title, column, digits in _VISIBLE:
            cells = [_score(rows.get(model, {}), column, digits) for model in README_MODELS]
            if any(cells):
                columns[f"{_readme_title(dataset, options)}: {title}"] = cells
    if not columns:
        return []
    lines = zip(README_MODELS.values(), *columns.values(), strict=True)
    return [
        *_table(
            ("method", *columns), [(label, *(cell or "-" for cell in cells)) for label, *cells in lines if any(cells)]
        ),
        "",
        "<sub>Sharpness is the median over frames of the variance of the Laplacian, relative to the true frame: 1 is",
        "as sharp. SSIMULACRA 2 is a mean: 100 is identical, 70 high, 50 medium, 30 low quality. Pulse is by how much",
        "sharpness jumps between source frames and new ones: 0 is best. VMAF goes from 0 to 100.</sub>",
        "",
    ]


def _readme_published() -> list[tuple[str, ...]]:
    """Lines of the README's table for `README_PUBLISHED`: the methods and a cell for each data set."""
    lines: list[tuple[str, ...]] = []
    for paper, table, method in README_PUBLISHED:
        printed = {
            (figure.dataset, figure.metric): figure.printed
            for figure in published_figures()
            if (figure.paper, figure.table, figure.method) == (paper, table, method)
        }
        psnr, error = printed.get(("ucf101", "psnr")), printed.get(("middlebury", "ie"))
        lines.append((f"{method}, as published", f"{psnr} dB", f"IE {error}" if error else "-", "-", "-"))
    return lines


# -- helpers


def _read_table(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError:
        raise InputError(f"{path} is missing: run this in the project, or pass the project's folder.") from None


def _group(rows: list[Row], *columns: str, order: Callable[[tuple[str, ...]], Any] | None = None) -> Groups:
    """The rows by the values of some columns, in the order of the table or sorted by `order`."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return list(groups.items()) if order is None else sorted(groups.items(), key=lambda group: order(group[0]))


def _dataset_order(key: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return list(DATASETS).index(key[0].removesuffix("-extrapolation")), key


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(['---'] + ['---:'] * (len(header) - 1))}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _score(row: Row, metric: str, digits: int) -> str:
    return f"{float(row[metric]):.{digits}f}" if row.get(metric) else ""


def _interval(row: Row, metric: str, digits: int) -> str:
    if not row.get(metric):
        return ""
    low, high = (float(row[f"{metric}_{end}"]) for end in ("low", "high"))
    return f"{_score(row, metric, digits)} ({low:.{digits}f} to {high:.{digits}f})"


def _model_label(row: Row) -> str:
    """A model's name, its precision if it is not fp32, and whether the score is incomplete."""
    notes = [] if row["precision"] in ("", "fp32") else [row["precision"]]
    notes += [] if row["complete"] == "yes" else ["incomplete"]
    return f"{row['model']} ({', '.join(notes)})" if notes else row["model"]


def _measured_on(rows: list[Row]) -> str:
    return f"<sub>Measured on {'; '.join(dict.fromkeys(row['machine'] for row in rows))}.</sub>"


def pages(project: Path) -> dict[Path, str]:
    """The content of docs/results.md and README.md, by path.

    Raises:
        InputError: if a table or the README's marks are missing.
    """
    names = ("quality", "cost", "conversion", "realtime", "peers")
    quality, cost, conversion, calls, peers = (_read_table(project / "results" / f"{name}.csv") for name in names)
    readme = project / "README.md"
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{readme} has no marks {BEGIN} and {END}.")
    return {
        project / "docs" / "results.md": results_page(quality, cost, conversion, calls, peers),
        readme: f"{before}{BEGIN}\n{readme_tables(quality, conversion)}\n{END}{after}",
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
