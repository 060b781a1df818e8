"""Suggestions for options that Betwixt does not have, but that other programs do, or that are misspelt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from betwixt.errors import did_you_mean

_FILTERS = "--fps for minterpolate; Betwixt has no other filters"

_ELSEWHERE = {
    # FFmpeg
    "-i": "IN alone, as in betwixt interpolate IN OUT",
    "-r": "--fps", "-crf": "--quality", "-qp": "--quality", "-q:v": "--quality", "-c:v": "--codec",
    "-vcodec": "--codec",
    "-codec:v": "--codec", "-pix_fmt": "--pixel-format", "-y": "--overwrite", "-ss": "--start", "-to": "--end",
    "-t": "--end, a time from the video's beginning", "-an": "--audio drop", "-c:a": "--audio", "-map": "--stream",
    "-vf": _FILTERS, "-filter:v": _FILTERS,
    # RIFE and programs around it
    "--exp": "--factor, which is 2 for --exp 1, 4 for --exp 2, 8 for --exp 3", "--multi": "--factor",
    "-n": "--factor, or --fps",
    "--img": "betwixt between A B OUT", "--video": "IN alone, as in betwixt interpolate IN OUT", "--input": "IN alone",
    "--ext": "the suffix of OUT", "--png": "OUT frames/%06d.png", "--fp16": "--device; the precision follows from it",
    "-g": "--device", "--gpu": "--device", "--gpuid": "--device", "-m": "--model", "-j": "--threads",
    "--dedup": "--duplicates fill", "--deduplicate": "--duplicates fill", "--mpdecimate": "--duplicates fill",
    "--scene": "--scene-cuts", "--scdet": "--scene-cuts", "--scene-detect": "--scene-cuts",
    "--scene-threshold": "--scene-cuts FILE, a list of cuts", "--scene-change": "--scene-cuts", "--sc": "--scene-cuts",
    # What others call it
    "--crf": "--quality", "--cq": "--quality", "--rate": "--fps", "--framerate": "--fps", "--frame-rate": "--fps",
    "--target-fps": "--fps", "--output-fps": "--fps", "--multiplier": "--factor", "--times": "--factor",
    "--slowmo": "--slow", "--slow-motion": "--slow", "--speed": "--slow, which is 4 for a quarter of the speed",
    "--encoder": "--codec", "--vcodec": "--codec", "--pix-fmt": "--pixel-format", "--force": "--overwrite",
    "--yes": "--overwrite", "--mute": "--audio drop", "--no-audio": "--audio drop", "--deinterlace":
    "--interlaced deinterlace", "--from": "--start", "--outdir": "--output-dir", "--out": "--output",
}  # fmt: skip
"""Options of other programs, and what they are here."""


def explain_unknown_option(option: str, arguments: Sequence[str], command: Any) -> str:
    """That an option does not exist, and what to use instead if that is known, without a full stop.

    Args:
        option: The option as the parser names it; of ``-ss`` it may only be ``-s``.
        arguments: All arguments of the command.
        command: The command (of Typer's Click).
    """
    option = next((a.partition("=")[0] for a in arguments if a.startswith(option)), option)
    flags = [flag for p in command.params for flag in (*p.opts, *p.secondary_opts) if flag.startswith("--")]
    hint = _find_equivalent(option, flags)
    if not hint and (near := did_you_mean(option, flags, "")) != ".":
        hint = near.rstrip("?")
    return f"No such option: {option}{', ' if hint else ''}{hint}"


def _find_equivalent(option: str, flags: Sequence[str]) -> str:
    """What does here what an option does elsewhere; "" if nothing is known."""
    # FFmpeg's options have one dash, and others write _ for -.
    for spelling in (option, f"-{option}", option.removeprefix("-"), option.replace("_", "-")):
        if spelling in flags:
            return f"use {spelling}"
        there = _ELSEWHERE.get(spelling, "")
        flag = re.match(r"--[\w-]+", there)
        if there and (flag is None or flag[0] in flags):
            return f"use {there}"
    return ""
