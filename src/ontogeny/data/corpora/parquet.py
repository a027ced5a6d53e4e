"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path

from ontogeny.core.errors import DataError
from ontogeny.data.files import Paths, find_files
from ontogeny.data.rows import RowCorpus
from ontogeny.store import parquet_bounds


class Parquet(RowCorpus):
    """One row of a Parquet file per document."""

    path: Paths
    """A file, a pattern such as `data/*.parquet`, or a list of these."""

    def rows(self) -> Iterator[tuple[str, str, object]]:
        """Every row, numbered from 0. Raises DataError for what is not Parquet, is damaged, or is too large."""
        for name, path in find_files(self.path):
            number = 0
            for batch in _batches(path):
                for row in batch:
                    yield f"{name}:{number}", f"{path}, row {number}", row
                    number += 1


def _batches(path: Path) -> Iterator[list[object]]:
    """The rows of a file, some at a time; how many there are, and how large, is looked at before they are decoded."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            if why := parquet_bounds.excess(file.metadata):
                raise DataError(f"{path} {why}: split it and name the part to read")
            decoded_bytes = 0
            for batch in file.iter_batches(batch_size=parquet_bounds.batch_rows(file.metadata)):
                decoded_bytes += batch.nbytes
                if decoded_bytes > parquet_bounds.MOST_BYTES:
                    most = f"{parquet_bounds.MOST_BYTES / 2**30:.0f} GiB"
                    raise DataError(f"{path} has more than {most} of text: split it and name the part to read")
                yield batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file, or damaged ({str(error).splitlines()[0]})") from None
