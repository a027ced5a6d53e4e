"""Damaged files of all kinds that users bring: one line of error, or a result, within a budget of CPU time.

Logs, recipes, texts, questions and rows; the files of a run are damaged in `tests/store/test_corruption.py`.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe_file import load_recipe
from ontogeny.data.corpora.jsonl import Jsonl
from ontogeny.data.corpora.parquet import Parquet
from ontogeny.data.corpora.text import Text
from ontogeny.data.questions import read_questions
from ontogeny.diagnosis.examine import examine
from ontogeny.integrations.importing import read_history
from tests.cpu_time import cpu_seconds
from tests.integrations.test_fuzz import SEEDS

BUDGET_S = 10.0
"""CPU seconds for one file of at most some 100 kB. Measured: below 0.5 for each."""

RECIPE = b"""extends: memorization/standard
name: fuzz
about: "20 passages, 3 epochs"
data:
  train:
    - {of: prose/train, count: &count 20}
  probes:
    train: {count: *count}
    novel: {count: 20}
train: {epochs: 3, batch: 2}
checkpoints: {epochs: [0, 1, 2, 3]}
"""
ROWS = "\n".join(json.dumps({"text": f"row {i} of some words", "n": i}) for i in range(20)).encode()
QUESTIONS = (
    b'{"question": "Two and two are", "answer": "four"}\n{"question": "?", "answer": "b", "choices": ["a", "b"]}\n'
)


def _parquet(folder: Path) -> bytes:
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(50)]}), folder / "rows.parquet")
    return (folder / "rows.parquet").read_bytes()


READERS: dict[str, Callable[[Path], object]] = {
    "log": lambda path: examine(read_history(path)),
    "recipe": load_recipe,
    "jsonl": lambda path: list(Jsonl(path=str(path), group_by=None).documents()),
    "parquet": lambda path: list(Parquet(path=str(path)).documents()),
    "text": lambda path: list(Text(path=str(path), deduplicate="paragraphs").documents()),
    "questions": read_questions,
}
INSERTED = (
    *(
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b'"' + b'\\"' * 20_000,
        b"9" * 5000,
        b" " * 20_000,
        b"\n" * 20_000,
        b"a-" * 10_000,
    ),
    *(b"*rate " * 2000, b"&x " * 2000, b"- " * 5000, b"? " * 5000, b"\xff\xfe\x00", b"\x00" * 100, b"\xed\xa0\x80"),
    *(
        b'{"text": ' + b"9" * 5000 + b"}",
        b'{"question": ' + b"[" * 5000,
        b"1e999",
        b"NaN",
        b"!!python/object:os.system x",
    ),
)
"""What is put into a file: each is hard on some parser."""


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One to three of: something inserted, a cut, flipped bytes, another encoding, a part repeated."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(data))
        match draw.randrange(5):
            case 0:
                begin = data.rfind(b"\n", 0, at) + 1 if draw.random() < 0.5 else at
                data = data[:begin] + draw.choice(INSERTED) + draw.choice([b"", b"\n"]) + data[begin:]
            case 1:
                data = data[:at]
            case 2:
                flipped = bytearray(data)
                for _ in range(min(draw.randint(1, 8), len(data))):
                    flipped[draw.randrange(len(flipped))] = draw.randrange(256)
                data = bytes(flipped)
            case 3:
                codec = draw.choice(["utf-16", "latin-1", "utf-8-sig"])
                data = data.decode("utf-8", errors="replace").encode(codec, errors="replace")
            case _:
                data = data[:at] + data[draw.randint(0, at) : at] * draw.choice([2, 50]) + data[at:]
    return data


def _try(kind: str, seed: int, folder: Path) -> None:
    draw = random.Random(f"{kind} {seed}")
    data = {
        "log": lambda: SEEDS[draw.choice(sorted(SEEDS))],
        "recipe": lambda: RECIPE,
        "jsonl": lambda: ROWS,
        "parquet": lambda: _parquet(folder),
        "text": lambda: b"Some words.\n\nOther words, and more of them.\n" * 20,
        "questions": lambda: QUESTIONS,
    }[kind]()
    path = folder / f"damaged-{kind}.yaml"
    path.write_bytes(damaged(data, draw)[:300_000])

    def read() -> None:
        try:
            READERS[kind](path)
        except OntogenyError as error:
            message = str(error)
            assert message, (kind, seed)
            assert "\n" not in message, (kind, seed, message)

    try:
        spent_s = cpu_seconds(read)
    except Exception as error:
        raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__} instead of one line of error") from error
    assert spent_s < BUDGET_S, f"{kind}, seed {seed}: {spent_s:.1f} s"


@pytest.mark.parametrize("kind", READERS)
def test_undamaged_files_are_read(kind: str, tmp_path: Path) -> None:
    """The negative control: what is damaged below is fine before."""
    data = {"log": SEEDS["table.csv"], "recipe": RECIPE, "jsonl": ROWS, "text": b"words", "questions": QUESTIONS}
    path = tmp_path / "file.yaml"
    path.write_bytes(data[kind] if kind in data else _parquet(tmp_path))
    assert READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_give_one_line_in_bounded_time(kind: str, tmp_path: Path) -> None:
    for seed in range(8):
        _try(kind, seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_many_damaged_files_give_one_line_in_bounded_time(kind: str, tmp_path: Path) -> None:
    for seed in range(1000):
        _try(kind, seed, tmp_path)
