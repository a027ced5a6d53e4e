"""What names and logs hold does not reach the terminal as control characters."""

import json
from pathlib import Path

import pytest

from tests.store import scenarios
from tests.verbs.conftest import Call

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e"


def controls(text: str) -> list[str]:
    return [character for character in text if not character.isprintable() and character not in "\n\t"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log whose name, metric and note hold them."""
    rows = [{"step": i, f"loss{EVIL}": 4.0 - 0.01 * i, "loss": 4.0 if i < 40 else None} for i in range(1, 60)]
    rows = [{key: value for key, value in row.items() if value is not None} for row in rows]
    path = tmp_path / f"train{EVIL}\n.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("verb", [["diagnose"], ["diagnose", "-v"], ["diagnose", "--markdown"], ["series"]])
def test_of_a_log(ontogeny: Call, log: Path, verb: list[str]) -> None:
    called = ontogeny(verb[0], log, *verb[1:])
    assert called.code == 0, called.err
    assert controls(called.out + called.err) == []
    assert "train\\x1b[2J" in called.out


def test_of_a_run_in_the_list(ontogeny: Call, tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "runs" / f"a{EVIL}\nb") as writer:
        writer.set_status(state=f"done{EVIL}", step=1)
    called = ontogeny("list", "--runs", tmp_path / "runs")
    assert controls(called.out) == []
    (row,) = [line for line in called.out.splitlines() if "\\x1b[2J" in line]
    assert "a\\x1b[2J\\x1b]0;owned\\x07\\u202e\\nb" in row
    assert "done\\x1b" in row


@pytest.mark.parametrize("arguments", [["series"], ["export"], ["report"], ["run"], ["verify"], ["diagnose"]])
def test_of_an_error(ontogeny: Call, tmp_path: Path, arguments: list[str]) -> None:
    called = ontogeny(*arguments, tmp_path / f"missing{EVIL}.yaml")
    assert called.code == 2
    assert controls(called.err) == []
    assert "\\x1b[2J" in called.err


def test_the_check_can_fail() -> None:
    assert controls(f"a{EVIL}") == [*"\x1b\x1b\x07\u202e"]
