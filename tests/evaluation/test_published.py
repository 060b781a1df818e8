"""The published numbers: whole, sane, and really the papers'."""

from __future__ import annotations

import math
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from betwixt.evaluation.published import PublishedFigure, find_published_figures, published_figures

PAPERS = Path(__file__).parents[3] / "shared" / "papers"
SNU_FILM = ["snu-film-easy", "snu-film-medium", "snu-film-hard", "snu-film-extreme"]
RANGES = {
    "psnr": (15, 45),
    "psnr_y": (15, 45),
    "ssim": (0.5, 1),
    "ie": (1, 10),
    "psnr-gain": (0.01, 5),
    "parameters": (0.001, 50),
    "parameter-ratio": (1, 20),
    "flops": (0.05, 20),
    "flops-saved": (1, 99),
    "runtime": (0, 6000),  # 0: a frame that is not encoded
    "runtime-gain": (1, 1000),
    "runtime-saved": (1, 99),
    "speedup": (0.5, 30),
    "speedup-min": (0.5, 30),
    "speedup-max": (0.5, 30),
    "bits-saved": (1, 99),
    "bpp": (0.01, 1),
    "memory": (0.1, 80),
}


def key(row: PublishedFigure) -> tuple[str, str, str, str, str]:
    return row.paper, row.table, row.method, row.dataset, row.metric


def test_every_row_is_complete_and_plausible() -> None:
    rows = published_figures()
    assert list(dict.fromkeys(row.paper for row in rows)) == ["rife", "daek", "apr-vfi", "ncm", "hierarchical-motion"]
    for row in rows:
        assert all(key(row)), row
        assert all(text == text.strip() for text in (*key(row), row.printed, row.note)), row
        assert re.fullmatch(r"[0-9][ab]?|text|readme", row.table), row
        assert re.fullmatch(r"-|[a-z0-9.-]+", row.dataset), row
        assert row.value == float(row.printed), row
        assert math.isfinite(row.value), row
        low, high = RANGES[row.metric]
        assert low <= row.value <= high, row
    keys = [key(row) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {row.metric for row in rows} == set(RANGES)


def test_psnr_and_ssim_come_in_pairs() -> None:
    """Where a table gives PSNR/SSIM in one cell, both are here."""
    only_psnr = {("daek", "2"), ("daek", "3"), ("hierarchical-motion", "2b")}  # 2b: the SSIM is cut off in our text
    rows = [
        r
        for r in published_figures()
        if r.paper != "rife" and r.table != "text" and (r.paper, r.table) not in only_psnr
    ]
    psnr, ssim = ({key(row)[:4] for row in rows if row.metric == metric} for metric in ("psnr", "ssim"))
    assert psnr == ssim


@pytest.mark.parametrize(
    ("paper", "table", "method", "dataset", "metric", "printed"),
    [
        ("daek", "1", "IFRNet", "snu-film-easy", "psnr", "40.03"),
        ("daek", "1", "RIFE", "ucf101", "ssim", "0.973"),
        ("daek", "1", "DAEK", "-", "parameters", "22.48"),
        ("daek", "1", "BMBC", "-", "runtime", "300"),
        ("daek", "2", "DAEK-F-SFA", "ucf101", "psnr", "35.35"),
        ("daek", "3", "DAEK w/ RT", "vimeo90k", "psnr", "35.40"),
        ("apr-vfi", "1", "DAIN", "xiph-4k", "flops", "13.221"),
        ("apr-vfi", "1", "IFRNet-L", "xiph-4k", "psnr", "33.58"),
        ("apr-vfi", "1", "APR-VFI", "xiph-4k", "runtime", "123"),
        ("apr-vfi", "2", "APR-VFI (w/o APR, patch 128)", "xiph-4k", "psnr", "34.05"),
        ("apr-vfi", "3", "APR-VFI (keep ratio 0.9 0.6 0.4 0.1)", "2048x1080", "flops", "1.504"),
        ("apr-vfi", "4", "APR-VFI (supervised by reconstruction loss)", "xiph-4k", "ssim", "0.9436"),
        ("apr-vfi", "5", "APR-VFI (w/o APR, concat&conv)", "xiph-2k", "psnr", "36.68"),
        ("ncm", "1", "AdaCoF", "snu-film-extreme", "ssim", "0.9439"),
        ("ncm", "1", "NCM-Large", "x4k1000fps", "psnr", "31.86"),
        ("ncm", "1", "RIFE-Large", "1080p", "runtime", "350"),
        ("ncm", "2", "DVF", "vimeo90k-extrapolation", "psnr", "26.21"),
        ("ncm", "2", "NCM-Base", "snu-film-hard-extrapolation", "ssim", "0.8881"),
        ("ncm", "3", "NCM-Base (w/o NCM)", "vimeo90k-480p", "psnr", "36.07"),
        ("ncm", "4", "NCM-Base (w/ normal coarse-to-fine)", "1080p", "runtime", "244"),
        ("ncm", "5", "RIFE-Large", "ucf101-clean-extrapolation", "ssim", "0.9545"),
        ("hierarchical-motion", "1", "RIFE", "vimeo90k", "psnr", "35.40"),
        ("hierarchical-motion", "1", "EMA-VFI-Hierarchical", "1280x720", "flops", "0.48"),
        ("hierarchical-motion", "2a", "RIFE-Hierarchical (HCE-T only)", "snu-film-extreme", "psnr", "24.87"),
        ("hierarchical-motion", "3", "RIFE (baseline)", "snu-film-extreme", "ssim", "0.8514"),
    ],
)
def test_numbers_read_from_the_papers(
    paper: str, table: str, method: str, dataset: str, metric: str, printed: str
) -> None:
    (row,) = [row for row in published_figures() if key(row) == (paper, table, method, dataset, metric)]
    assert row.printed == printed


def test_averages_of_ncm_agree_with_their_columns() -> None:
    """To the printed digit; where they do not, the note gives the mean."""
    values = {key(row): Decimal(row.printed) for row in published_figures()}
    seen = 0
    for row in published_figures():
        if row.paper != "ncm" or row.table == "text" or not row.dataset.startswith("average"):
            continue
        suffix = row.dataset.removeprefix("average")
        columns = ["x4k1000fps", *SNU_FILM, "ucf101", "vimeo90k"]
        mean = sum(values["ncm", row.table, row.method, name + suffix, row.metric] for name in columns) / len(columns)
        digit = Decimal(1).scaleb(int(Decimal(row.printed).as_tuple().exponent))
        noted = re.search(r"the mean of the seven columns is ([0-9.]+)", row.note)
        assert abs(mean - Decimal(noted[1] if noted else row.printed)) <= digit / 2, row
        assert not noted or abs(mean - Decimal(row.printed)) > digit / 2, row
        seen += 1
    assert seen == 2 * (9 + 5)


def test_figures_of_a_data_set_keep_their_order() -> None:
    rows = find_published_figures("ucf101-clean", ["psnr", "ssim"])
    assert [row.method for row in rows if row.metric == "psnr"] == ["RIFE", "RIFE-Large", "NCM-Base", "NCM-Large"]
    assert len(rows) == 8
    assert find_published_figures("ucf101-clean", ["psnr"]) == [row for row in rows if row.metric == "psnr"]
    assert find_published_figures("no-such-set", ["psnr"]) == []
    assert all(row.dataset == "vimeo90k" for row in find_published_figures("vimeo90k", ["psnr"]))


def text_of(paper: str) -> str:
    path = PAPERS / f"{paper}.md"
    if not path.exists():
        pytest.skip(f"{path} is not here: the papers lie beside the project, not in it")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("paper", ["daek", "apr-vfi", "ncm", "hierarchical-motion"])
def test_every_number_is_in_its_paper(paper: str) -> None:
    text = text_of(paper)
    for row in published_figures():
        if row.paper == paper:
            converted = re.match(r"printed as ([0-9.]+) ?[sk]\b", row.note)  # from other units
            number = converted[1] if converted else row.printed
            assert re.search(rf"(?<![0-9.]){re.escape(number)}(?![0-9]|\.[0-9])", text), row


@pytest.mark.parametrize("paper", ["daek", "apr-vfi", "ncm", "hierarchical-motion"])
def test_every_psnr_and_ssim_of_a_paper_is_in_the_table(paper: str) -> None:
    """All PSNR/SSIM cells of the paper's text, each as often as it stands there. Cells cut off in the text are not."""
    plain = re.sub(r"</?(?:b|mark)>", "", text_of(paper))
    cells = Counter(re.findall(r"(?<![0-9.])([0-9]{2}\.[0-9]{2}) ?/ ?(0\.[0-9]{3}[0-9]?)", plain))
    rows = {key(row): row.printed for row in published_figures() if row.paper == paper and row.table != "text"}
    ours = Counter(
        (psnr, rows[*names, "ssim"])
        for (*names, metric), psnr in rows.items()
        if metric == "psnr" and (*names, "ssim") in rows
    )
    assert ours == cells
