"""Tables: lists of rows that print well, in a terminal and in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

from evolve.errors import BadInput

if TYPE_CHECKING:
    import pandas

#: Rows that are shown; the rest is counted.
SHOWN = 20


class Table(list[dict[str, Any]]):
    """Rows, each a dictionary with the same keys: a list, with three things more.

    It prints as a table, shows as one in a notebook, and `to_pandas` makes it a DataFrame.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(dict(row) for row in rows)

    @overload  # type: ignore[override]
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice) -> Table: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        """A row by its place, some rows, or a column by its name."""
        if isinstance(key, str):
            return [row[key] for row in self]
        if isinstance(key, slice):
            return Table(super().__getitem__(key))
        return super().__getitem__(key)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self[0]) if self else []

    def to_pandas(self) -> pandas.DataFrame:
        """As a DataFrame.

        Raises:
            BadInput: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise BadInput("a DataFrame needs pandas; pip install pandas") from None

        return pandas.DataFrame(list(self), columns=self.columns or None)

    def __str__(self) -> str:
        from rich.table import Table as Shown

        from evolve.library.console import Console

        table = Shown(*self.columns, box=None)
        for row in self[:SHOWN]:
            table.add_row(*(cell(value) for value in row.values()))
        text = io.StringIO()
        Console(file=text, width=1000).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        return "\n".join([*lines, *self._rest()])

    def _repr_html_(self) -> str:
        def line(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        head = line(self.columns, "th")
        body = "".join(line(map(cell, row.values()), "td") for row in self[:SHOWN])
        rest = "".join(f"<p>{html.escape(text)}</p>" for text in self._rest())
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{rest}"

    def _rest(self) -> list[str]:
        more = len(self) - SHOWN
        return [f"... and {more:,} more rows"] if more > 0 else []


def cell(value: Any) -> str:
    """A value as it stands in a table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
