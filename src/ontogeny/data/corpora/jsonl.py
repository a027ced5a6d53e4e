"""Files of JSON lines."""

import json
from collections.abc import Iterator

from ontogeny.core.errors import DataError
from ontogeny.data.files import Paths, find_files
from ontogeny.data.rows import RowCorpus


class Jsonl(RowCorpus):
    """One JSON object per line; blank lines are skipped."""

    path: Paths
    """A file, a pattern such as `data/*.jsonl`, or a list of these."""

    def rows(self) -> Iterator[tuple[str, str, object]]:
        """Every line. Raises DataError with file and line for what is not JSON in UTF-8."""
        for name, path in find_files(self.path):
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        place = f"{path}, line {number}"
                        yield f"{name}:{number}", place, _parsed(line, place)


def _parsed(line: bytes, place: str) -> object:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{place}: not JSON in UTF-8 ({error})") from None
