"""Quantities as text, for people: counts, durations, sizes, rates."""

from __future__ import annotations

from fractions import Fraction


def format_count(count: int, noun: str) -> str:
    """A number of things as text: 1 frame, 2 frames."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Seconds as text: 4.2 s, 3:07, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_bytes(count: int) -> str:
    """A size in memory as text."""
    return f"{count / (1 << 30):.2f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MB"


def format_rate(value: Fraction) -> str:
    """A fraction as text: 60, 59.9401 (60000/1001)."""
    return str(value) if value.denominator == 1 else f"{float(value):.6g} ({value})"
