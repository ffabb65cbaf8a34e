"""Rows into a file, a few at a time: CSV by the standard library, Parquet where pyarrow is installed."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from .columns import Column

Format = Literal["csv", "parquet"]
Row = Mapping[str, Any]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet computes a text that begins so, and devices choose texts."""


class Writer(Protocol):
    """Writes to a file that is complete once it is closed."""

    def add(self, rows: Sequence[Row]) -> None: ...

    def close(self) -> None: ...


class CsvWriter:
    """One header with the names, then a line a row. What is not known is empty; a list is JSON."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._writer.writerows([self._cell(column, row.get(column.ours)) for column in self._columns] for row in rows)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    @staticmethod
    def _cell(column: Column, value: Any) -> Any:
        if value is None:
            return ""
        if column.type == "ints":
            return json.dumps(value)
        if column.type == "flag":
            return "true" if value else "false"
        if column.type == "text" and str(value).startswith(FORMULA):
            return f"'{value}"
        return value


def writer(format: Format, path: Path, columns: Sequence[Column]) -> Writer:
    """Return a writer; raise ServerError where what it needs is not installed."""
    if format == "csv":
        return CsvWriter(path, columns)
    from .parquet import ParquetWriter

    return ParquetWriter(path, columns)


def write(out: Writer, batches: Iterable[Sequence[Row]]) -> int:
    """Write everything; return how many rows there were."""
    count = 0
    for rows in batches:
        out.add(rows)
        count += len(rows)
    return count
