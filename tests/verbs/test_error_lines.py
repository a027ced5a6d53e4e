"""An error repeats what the user gave, however long that was, in a line that can be read."""

import errno
import os
from pathlib import Path

import pytest

from ontogeny import cli
from tests.verbs.conftest import Call


def test_a_long_line_of_an_error_loses_its_middle(ontogeny: Call) -> None:
    called = ontogeny("export", "a" * 100_000)
    assert called.code == 2
    assert called.err.startswith("ontogeny: aaa")
    assert called.err.endswith("aaa: no such directory\n")
    assert len(called.err) == 1000 + len(" … ") + 1000 + len("\n")


def test_a_short_one_does_not(ontogeny: Call) -> None:
    called = ontogeny("export", "a" * 1900)
    assert called.err == f"ontogeny: {'a' * 1900}: no such directory\n"


def test_what_the_file_system_refuses_is_named_and_no_defect(
    ontogeny: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "/some/file")

    monkeypatch.setattr(cli, "app", refuse)
    called = ontogeny("list")
    assert (called.code, called.err) == (3, "ontogeny: /some/file: Permission denied (--debug shows where)\n")


def test_another_exception_is_called_a_defect(ontogeny: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("a reader's own")

    monkeypatch.setattr(cli, "app", fail)
    assert "(a defect of ontogeny" in ontogeny("list").err
