import platform
from pathlib import Path

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.corpora import python_code
from ontogeny.data.corpora.python_code import PythonCode
from ontogeny.data.documents import size_of


def test_modules_of_the_standard_library_in_order() -> None:
    modules = list(PythonCode(deduplicate="none").documents())
    sources = [d.source for d in modules]
    assert sources == sorted(sources, key=lambda source: Path(source).parts)
    assert {"json/decoder.py", "random.py", "asyncio/tasks.py"} <= set(sources)
    assert 6_000_000 < sum(map(size_of, modules)) < 20_000_000
    parts = {part for source in sources for part in Path(source).parts}
    assert not parts & {"pydoc_data", "pdb.py", "encodings", "test", "tests", "site-packages", "__pycache__"}


def test_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.py", "a.py", "pkg/c.py", "pkg/tests/d.py", "_sysconfigdata_x.py", "site-packages/e.py", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\r\n", newline="")
    (tmp_path / "latin.py").write_bytes("# -*- coding: latin-1 -*-\n# é\n".encode("latin-1"))
    monkeypatch.setattr(python_code.sysconfig, "get_path", lambda name: str(tmp_path))
    found = {d.source: d.text for d in PythonCode().documents()}
    assert list(found) == ["a.py", "b.py", "latin.py", "pkg/c.py"]
    assert found["b.py"] == "# b.py\n"
    assert "é" in found["latin.py"]


def test_boilerplate_is_dropped_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    licence = "# " + " ".join(f"licence{i}" for i in range(30))
    for name in "ab":
        (tmp_path / f"{name}.py").write_text(f"{licence}\n\nx = '{name}'\n")
    monkeypatch.setattr(python_code.sysconfig, "get_path", lambda name: str(tmp_path))
    first, second = PythonCode().documents()
    assert first.text.startswith(licence)
    assert second.text == "x = 'b'\n"


def test_a_part_of_it() -> None:
    part = list(PythonCode(limit_chars=200_000, deduplicate="none").documents())
    assert 100_000 < sum(map(size_of, part)) <= 200_000


def test_provenance_names_the_version() -> None:
    assert PythonCode().origin() == {"python": platform.python_version()}


def test_python_without_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_code.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="no standard library source"):
        list(PythonCode().documents())
