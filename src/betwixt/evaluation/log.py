"""The log of an unfinished evaluation, from which a later run resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from betwixt.errors import UsageError
from betwixt.evaluation.scores import FrameScores, SkippedSample
from betwixt.files import read_error, write_error


class EvaluationLog:
    """The scores of an unfinished evaluation: JSON lines, of which the first says what is being measured.

    The file is created with the first result. Skipped samples are logged for the record only: a run that resumes tries
    them again.

    Args:
        path: The file.
        key: What is being measured; a log with another key belongs to another evaluation.
        metrics: The metrics of each frame's scores.
        resume: Whether to read an existing file and append to it; otherwise it is replaced.

    Attributes:
        done: The scores that the log has, by sample.

    Raises:
        InputError: if the file cannot be read.
        UsageError: if it belongs to another evaluation.
    """

    def __init__(self, path: Path, key: dict[str, Any], *, metrics: Sequence[str], resume: bool) -> None:
        self.path = path
        self.done: dict[str, list[FrameScores]] = {}
        self._key, self._metrics = key, list(metrics)
        self._file: Any = None
        self._appends = resume and path.exists() and self._read() > 0

    def _read(self) -> int:
        """Read the file and cut off what is not a whole line of these scores; the bytes that are left."""
        valid = 0
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise read_error(self.path, error) from None
        for number, line in enumerate(data.splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                break  # the line that was being written when the run was interrupted
            try:
                entry = json.loads(line)
                if number == 0:
                    if entry != self._key:
                        raise UsageError(
                            f"{self.path} belongs to another evaluation: pass the same model, data set, options and "
                            "metrics, or start again without `resume`."
                        )
                elif "reason" not in entry:
                    rows = [FrameScores(**row) for row in entry["rows"]]
                    if any(list(row.scores) != self._metrics for row in rows):
                        break
                    self.done[entry["sample"]] = rows
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            valid += len(line)
        with self.path.open("r+b") as file:
            file.truncate(valid)
        return valid

    def add(self, sample: str, result: list[FrameScores] | SkippedSample) -> None:
        """Write the result of a sample.

        Raises:
            OutputError: if the file cannot be written.
        """
        if isinstance(result, SkippedSample):
            entry = asdict(result)
        else:
            entry = {"sample": sample, "rows": [asdict(row) for row in result]}
        try:
            if self._file is None:
                self._file = self.path.open("a" if self._appends else "w", encoding="utf-8")
                if not self._appends:
                    self._file.write(json.dumps(self._key) + "\n")
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(error, self.path) from None

    def close(self) -> None:
        """Close the file; it stays on the disk."""
        if self._file is not None:
            self._file.close()
