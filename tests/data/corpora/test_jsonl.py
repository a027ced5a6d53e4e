import json
from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.corpora.jsonl import Jsonl
from ontogeny.data.documents import read_documents, size_of

CRD3 = Path(__file__).parents[3].parent / "shared" / "data" / "crd3"


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_line_is_a_document(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"text": "a\u2028b\r\n"}, {"prompt": "q", "completion": "a"})
    with open(path, "a", newline="") as file:
        file.write('\n  \r\n{"text": "last, without a newline"}')
    found = list(Jsonl(path=path).documents())
    assert [d.text for d in found] == ["a\u2028b\r\n", "qa", "last, without a newline"]
    assert [d.source for d in found] == ["r.jsonl:1", "r.jsonl:2", "r.jsonl:5"]


def test_several_files(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.jsonl", {"text": name})
    assert [d.source for d in Jsonl(path=f"{tmp_path}/*.jsonl").documents()] == ["a.jsonl:1", "b.jsonl:1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', r"r.jsonl, line 2: not JSON in UTF-8 \(Expecting ',' delimiter"),
        (b'{"text": "\xff"}', r"r.jsonl, line 2: not JSON in UTF-8 \(.*0xff"),
        (b"[1]", r"r.jsonl, line 2: a row must be a mapping"),
        (b'{"text": 1}', r"r.jsonl, line 2: field 'text' must be text, not int"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        list(Jsonl(path=str(path)).documents())


def test_missing_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus 'chat': .*gone.jsonl: no such file"):
        read_documents("chat", Jsonl(path=str(tmp_path / "gone.jsonl")))
    with pytest.raises(DataError, match=r"corpus 'chat' \(jsonl\) holds no text"):
        read_documents("chat", Jsonl(path=write(tmp_path / "e.jsonl")))


@pytest.mark.skipif(not CRD3.is_dir(), reason="role-play dialogue is not on this machine")
def test_real_dialogue_by_episode() -> None:
    corpus = Jsonl(path=str(CRD3 / "dialogue.jsonl"), text="{speaker}: {text}", group_by="episode")
    episodes = read_documents("crd3", corpus)
    with open(CRD3 / "dialogue.jsonl", encoding="utf-8") as file:
        turns = [json.loads(line) for line in file]
    assert len(episodes) == len({turn["episode"] for turn in turns})
    assert sum(map(size_of, episodes)) == sum(len(turn["speaker"]) + 2 + len(turn["text"]) + 1 for turn in turns) - len(
        episodes
    )  # ": " in a turn, a newline between two
    assert episodes[0].text.startswith(f"{turns[0]['speaker']}: {turns[0]['text']}\n{turns[1]['speaker']}: ")


@pytest.mark.skipif(not CRD3.is_dir(), reason="role-play dialogue is not on this machine")
def test_real_summaries_as_completions() -> None:
    corpus = Jsonl(path=str(CRD3 / "summaries.jsonl"), prompt="{dialogue}\n\nSummary:", completion=" {summary}")
    (document, *_) = read_documents("crd3", corpus)
    with open(CRD3 / "summaries.jsonl", encoding="utf-8") as file:
        first = json.loads(file.readline())
    ((start, end),) = document.completion_spans or ()
    assert document.text[start:end] == f" {first['summary']}"
    assert document.text.startswith(first["dialogue"])
