"""The source of Python's standard library."""

import platform
import sysconfig
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import Path

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.data.documents import ReadCorpus, Repeats

_LEFT_OUT = {"pydoc_data", "encodings", "test", "tests", "idle_test", "_bundled", "site-packages", "dist-packages"}
_LEFT_OUT |= {"pdb.py"}


class PythonCode(ReadCorpus):
    """Code: the standard library's modules, one document each, about 10 M characters.

    Left out are `pydoc_data` (it is `python_prose`), `pdb.py` (its docstrings are the topic `debugger` of the prose),
    `encodings` (tables of characters), tests with their data, installed packages, and files made at build time.
    """

    deduplicate: Repeats = "paragraphs"
    """Modules share boilerplate (licences, accessors), so repeated paragraphs are dropped."""

    def read(self) -> Iterable[Document]:
        """The modules in alphabetical order of their paths. Raises DataError if Python has no source files."""
        root = Path(sysconfig.get_path("stdlib"))
        paths = sorted(path.relative_to(root) for path in root.rglob("*.py"))
        modules = [p for p in paths if not _LEFT_OUT & set(p.parts) and not p.name.startswith("_sysconfigdata")]
        if not modules:
            raise DataError(f"this Python has no standard library source in {root}: use another corpus")
        for module in modules:
            with tokenize.open(root / module) as file:
                yield Document(text=file.read(), source=module.as_posix())

    def origin(self) -> Mapping[str, str]:
        """The version of Python, on which the text depends."""
        return {"python": platform.python_version()}
