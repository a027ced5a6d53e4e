"""Bounds of Parquet files, looked at in their metadata before anything is decoded.

A column of equal values takes a few bytes however many rows it has, so the size of a file says nothing about the work.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

MOST_VALUES = 1_000_000_000
"""Rows times columns."""
MOST_BYTES = 16 << 30
"""Bytes of a file's pages after decompression; and of what is decoded from them."""
_BATCH_ROWS = 1024
_BATCH_BYTES = 4 << 30
"""Bound of a batch even if each of its rows holds the longest value that its part of the file has room for."""


def excess(metadata: "FileMetaData", most_values: int = MOST_VALUES) -> str | None:
    """Why a file is too large to be decoded, in words that follow its name; None if it is not."""
    rows, columns = metadata.num_rows, metadata.num_columns
    if rows * max(columns, 1) > most_values:
        return f"has {rows:,} rows of {columns:,} columns: at most {most_values:,} values are read"
    if (unpacked_bytes := _unpacked_bytes(metadata)) > MOST_BYTES:
        return f"has {unpacked_bytes / 2**30:.1f} GiB unpacked: at most {MOST_BYTES / 2**30:.0f} GiB are read"
    return None


def batch_rows(metadata: "FileMetaData") -> int:
    """Rows to decode at once: a value repeated by reference may be as long as all that its part of the file stores."""
    longest_bytes = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
    return min(max(_BATCH_BYTES // max(longest_bytes, 1), 1), _BATCH_ROWS)


def _unpacked_bytes(metadata: "FileMetaData") -> int:
    return sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
