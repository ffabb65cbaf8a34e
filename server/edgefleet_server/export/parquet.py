"""Parquet, by pyarrow: the only file that needs it."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import ServerError
from .columns import Column
from .writers import Row

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ServerError(
        "Parquet needs pyarrow: pip install 'edgefleet-server[export]', or --format csv, which needs nothing"
    ) from error

TYPES = {
    "text": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "flag": pa.bool_(),
    "ints": pa.list_(pa.int64()),
}
GROUP = 20_000
"""Rows to a row group: they are held in memory."""


class ParquetWriter:
    """Each column's metadata has our own name and the unit."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._schema = pa.schema(
            [
                pa.field(column.name, TYPES[column.type], metadata={"edgefleet": column.ours, "unit": column.unit})
                for column in columns
            ]
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows."""
        self._rows += rows
        if len(self._rows) >= GROUP:
            self._flush()

    def close(self) -> None:
        """Finish the file."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        arrays = [
            pa.array([row.get(column.ours) for row in self._rows], type=TYPES[column.type]) for column in self._columns
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []
