"""Progress bars that fit the width of the terminal: what matters least is left out first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table

_MAX_WIDTH = 10_000
"""Columns in which every line fits."""

_NAME_WIDTH = 20
"""Columns for a name; the rest of a longer one is left out."""


class FittingProgress(Progress):
    """Bars of which the whole columns are shown that fit beside each other.

    Args:
        columns: The columns, from left to right, each with a number: those with higher numbers are left out first.
        console: Where to.
    """

    def __init__(self, *columns: tuple[int, ProgressColumn], console: Console) -> None:
        self._ranks = {id(column): rank for rank, column in columns}
        self._all_columns = tuple(column for _, column in columns)
        self._console = console  # `console` is only known once the base class is ready
        super().__init__(*self._all_columns, console=console, transient=True)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The table of all bars, at the console's width now."""
        tasks = list(tasks)
        shown = [column for column in self._all_columns if any(not _is_empty(column, task) for task in tasks)]
        while True:
            self.columns = tuple(shown)
            table = super().make_tasks_table(tasks)
            options = self._console.options.update_width(_MAX_WIDTH)
            if len(shown) <= 1 or Measurement.get(self._console, options, table).maximum <= self._console.width:
                return table
            shown.remove(max(shown, key=lambda column: self._ranks[id(column)]))


def _is_empty(column: ProgressColumn, task: Task) -> bool:
    return isinstance(column, TextColumn) and not column.render(task).plain


def open_bars(stream: IO[str]) -> FittingProgress:
    """Bars with percentage and time left, and where there is room with name, count, bar and details.

    Tasks have the fields `percentage`, `left`, `count` and `details`.
    """

    def text(field: str, justify: JustifyMethod = "left", **column: Any) -> TextColumn:
        table_column = Column(no_wrap=True, **column)
        return TextColumn(f"{{task.{field}}}", justify=justify, markup=False, table_column=table_column)

    return FittingProgress(
        (2, text("description", max_width=_NAME_WIDTH, overflow="ellipsis")),
        (0, text("fields[percentage]", "right")),
        (4, BarColumn(bar_width=24)),
        (1, text("fields[left]", "right")),
        (3, text("fields[count]")),
        (5, text("fields[details]")),
        console=Console(file=stream),
    )
