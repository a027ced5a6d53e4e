"""Files of JSON lines."""

from collections.abc import Iterator

from ontogeny.data.files import Paths, find_files, json_lines
from ontogeny.data.rows import RowCorpus


class Jsonl(RowCorpus):
    """One JSON object per line; blank lines are skipped."""

    path: Paths
    """A file, a pattern such as `data/*.jsonl`, or a list of these."""

    def rows(self) -> Iterator[tuple[str, str, object]]:
        """Every line. Raises DataError with file and line for what is not JSON in UTF-8."""
        for name, path in find_files(self.path):
            for number, row in json_lines(path):
                yield f"{name}:{number}", f"{path}, line {number}", row
