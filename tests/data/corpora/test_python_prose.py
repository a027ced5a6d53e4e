import builtins
import platform
from typing import Any

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.corpora.python_prose import PythonProse
from ontogeny.data.documents import size_of


def test_one_document_per_topic_in_order() -> None:
    topics = list(PythonProse(deduplicate="none").documents())
    sources = [d.source for d in topics]
    assert sources == sorted(sources)
    assert {"assert", "specialnames", "debugger"} <= set(sources)
    assert 300_000 < sum(map(size_of, topics)) < 1_000_000


def test_topics_within_topics_are_dropped_by_default() -> None:
    whole = {d.source: d.text for d in PythonProse(deduplicate="none").documents()}
    kept = {d.source: d.text for d in PythonProse().documents()}
    assert whole["context-managers"][300:600] in whole["specialnames"]  # a topic within another
    assert sum(map(len, kept.values())) < 0.9 * sum(map(len, whole.values()))
    assert len(kept["specialnames"]) < 0.5 * len(whole["specialnames"])


def test_provenance_names_the_version() -> None:
    assert PythonProse().origin() == {"python": platform.python_version()}


def test_python_without_its_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DataError, match="without pydoc_data: use another corpus"):
        list(PythonProse().documents())
