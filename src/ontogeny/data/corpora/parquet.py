"""Parquet files."""

from collections.abc import Iterator

from ontogeny.core.errors import DataError
from ontogeny.data.files import Paths, find_files
from ontogeny.data.rows import RowCorpus


class Parquet(RowCorpus):
    """One row of a Parquet file per document."""

    path: Paths
    """A file, a pattern such as `data/*.parquet`, or a list of these."""

    def rows(self) -> Iterator[tuple[str, str, object]]:
        """Every row, numbered from 0. Raises DataError for what is not Parquet."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        for name, path in find_files(self.path):
            number = 0
            try:
                file = ParquetFile(path)
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{path}: not a Parquet file ({error})") from None
            with file:
                for batch in file.iter_batches(batch_size=1024):
                    for row in batch.to_pylist():
                        yield f"{name}:{number}", f"{path}, row {number}", row
                        number += 1
