"""Python's reference documentation, which comes with Python."""

import platform
from collections.abc import Iterable, Mapping

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.data.documents import ReadCorpus, Repeats


class PythonProse(ReadCorpus):
    """English technical prose: the topics of `help()`, one document each, about 0.46 M characters with repeats."""

    deduplicate: Repeats = "paragraphs"
    """Topics repeat each other's paragraphs (`specialnames` contains several whole topics), so repeats are dropped."""

    def read(self) -> Iterable[Document]:
        """The topics in alphabetical order. Raises DataError if Python is installed without its documentation."""
        try:
            from pydoc_data.topics import topics
        except ImportError:
            raise DataError("this Python comes without pydoc_data: use another corpus, or another Python") from None
        for name in sorted(topics):
            yield Document(text=topics[name], source=name)

    def origin(self) -> Mapping[str, str]:
        """The version of Python, on which the text depends."""
        return {"python": platform.python_version()}
