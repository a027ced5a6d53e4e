"""A dataset from the Hugging Face hub."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ontogeny.core.errors import DataError, MissingExtraError
from ontogeny.data.rows import RowCorpus


class Hub(RowCorpus):
    """One row of a dataset per document, loaded by the `datasets` library."""

    name: str
    """A name on the hub, or a local directory, either written by `save_to_disk` or with data files."""
    config: str | None = None
    """The dataset's configuration, if it has several."""
    split: str = "train"
    """The dataset's split; this recipe's own splits are made within it."""
    revision: str | None = None
    """Branch, tag or commit; only a commit makes the run repeatable."""

    def rows(self) -> Iterator[tuple[str, str, object]]:
        """Every row, numbered from 0. Raises DataError if the dataset or its split cannot be loaded."""
        for number, row in enumerate(self._load()):
            yield f"{self.split}:{number}", f"dataset {self.name}, split {self.split}, row {number}", row

    def origin(self) -> Mapping[str, str]:
        """Name, split and revision."""
        return {"name": self.name, "split": self.split, "revision": self.revision or "newest"}

    def _load(self) -> Iterable[object]:
        try:
            import datasets
        except ImportError:
            raise MissingExtraError("corpus hub needs datasets: pip install 'ontogeny[train]'") from None
        directory = Path(self.name).expanduser()
        try:
            if any((directory / mark).is_file() for mark in ("state.json", "dataset_dict.json")):
                saved = datasets.load_from_disk(str(directory))
                return self._split_of(saved) if isinstance(saved, dict) else saved
            return datasets.load_dataset(self.name, self.config, split=self.split, revision=self.revision)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise DataError(f"dataset '{self.name}', split '{self.split}' cannot be loaded ({reason})") from None

    def _split_of(self, saved: Mapping[str, Iterable[object]]) -> Iterable[object]:
        if self.split not in saved:
            raise ValueError(f"it has the splits {', '.join(saved)}")
        return saved[self.split]
