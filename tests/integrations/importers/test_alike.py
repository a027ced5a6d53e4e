"""Lines that differ only in their numbers are read many at once, and exactly as if they were read one by one."""

from pathlib import Path

import pytest

from ontogeny.integrations.importers import _alike, json_lines, printed
from ontogeny.store.history import History
from tests.integrations.importers.reading import points, read

PRINTED = [f"iter {i}: loss {3 - i / 1000:.4f}, lr 1.{i % 10}e-04" for i in range(1, 400)]
INTERRUPTIONS = {
    "another line": "saving checkpoint to out",
    "an evaluation": "step 100: train loss 2.9, val loss 2.8",
    "a loss that is NaN": "iter 100: loss nan, lr 1.0e-04",
    "a number with commas": "iter 1,000: loss 2.5, lr 1.0e-04",
    "a step that is none": "iter -1: loss 2.5, lr 1.0e-04",
    "colours": "\x1b[32miter 100: loss 2.75, lr 1.0e-04\x1b[0m",
    "repaints": "iter 100: loss 2.75, lr 1.0e-04\riter 100: loss 2.8, lr 1.0e-04",
    "a number with two points": "iter 100: loss 2.7.5, lr 1.0e-04",
    "a fall of the step": "iter 1: loss 2.75, lr 1.0e-04",
    "holes": "iter 100: loss " + "\0" * 8 + "2.75, lr 1.0e-04",
}


def _all(history: History) -> list[tuple[object, ...]]:
    return [
        (segment.index, segment.axis, segment.reason, series.scope, series.name, *map(repr, row))
        for segment in history.segments
        for series in segment
        for row in zip(
            series.steps.tolist(), series.values.tolist(), series.rows.tolist(), series.epochs.tolist(), strict=True
        )
    ]


def _taken_and_single(folder: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[History, History, int]:
    """A log read as it is, the same log line by line, and how many lines were taken at once."""
    taken = 0
    original = _alike.LineStream.take

    def counted(*arguments: object) -> list[tuple[str, ...]]:
        nonlocal taken
        rows = original(*arguments)  # type: ignore[arg-type]
        taken += len(rows)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(_alike.LineStream, "take", counted)
        fast = read(folder, text)
    with monkeypatch.context() as patch:
        patch.setattr(printed, "pattern_of", lambda *_: None)
        patch.setattr(json_lines, "pattern_of", lambda *_: None)
        slow = read(folder, text)
    return fast, slow, taken


@pytest.mark.parametrize("kind", INTERRUPTIONS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_taken_at_once_are_read_as_single_lines_are(
    kind: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [*PRINTED[:100], INTERRUPTIONS[kind], *PRINTED[100:200], *[INTERRUPTIONS[kind]] * 3, *PRINTED[200:]]
    fast, slow, taken = _taken_and_single(tmp_path, end.join(lines).encode(), monkeypatch)
    assert _all(fast) == _all(slow)
    assert (fast.config, fast.notes, fast.partial) == (slow.config, slow.notes, slow.partial)
    assert taken > 300  # of 399: otherwise nothing was compared


def test_json_lines_taken_at_once_are_read_as_single_objects_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strings, nested values, keys with numbers, and NaN stand between."""
    objects = [f'{{"step": {i}, "mode": "train", "loss": {3 - i / 1000:.4f}, "epoch": 0.{i}}}' for i in range(1, 400)]
    for at, other in (
        (50, '{"step": 50, "mode": "train", "loss": NaN, "epoch": 0.5}'),
        (100, '{"step": 100, "eval": {"loss": 2.5}}'),
        (150, '{"step": 150, "mode": "eval", "loss": 2.5, "top-5": 0.5}'),
        (200, '{"step": 1e300, "mode": "train", "loss": 2.5, "epoch": 0.5}'),
        (250, '{"step": 250, "mode": "train", "loss": true, "epoch": 0.5}'),
    ):
        objects[at:at] = [other, other]
    fast, slow, taken = _taken_and_single(tmp_path, "\n".join(objects).encode(), monkeypatch)
    assert _all(fast) == _all(slow)
    assert fast.notes == slow.notes
    assert taken > 300


def test_of_a_long_log_the_last_lines_are_in_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program printed for long before it trained does not hide the training: here all but the last 5 lines."""
    noise = b"".join(b"loading shard number %d of the data\n" % i for i in range(4_500))
    monkeypatch.setattr("ontogeny.integrations.importers._source._LONG", 100_000)
    monkeypatch.setattr("ontogeny.integrations.importers._source._TAIL_BYTES", 10_000)
    history = read(tmp_path, noise + b"".join(b"step %d loss 2.%d\n" % (i, i) for i in range(1, 6)))
    assert points(history, "loss") == [(i, 2 + i / 10) for i in range(1, 6)]
