import base64
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from ontogeny.core.passages import Passage
from ontogeny.report.passage_reader import _shown_passage, build_reader
from ontogeny.store.run import Run
from ontogeny.store.run_group import RunGroup, RunView
from tests.report.hand_made import MakeRun

NAN = float("nan")


def view(run: Run) -> RunView:
    return RunGroup([run]).runs[0]


def opened(text: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and codes [token, checkpoint] of a bundle, read as the page's script reads it."""
    body = zlib.decompress(base64.b64decode(text))
    start = 4 + struct.unpack("<I", body[:4])[0]
    header = json.loads(body[4:start])
    codes = {}
    for name, size in header["arrays"].items():
        rows = np.frombuffer(body, np.uint8, size, start).reshape(-1, len(header["steps"]))
        codes[name] = np.cumsum(rows, axis=1, dtype=np.uint8)
        start += size
    return header, codes


def test_every_number_of_the_store_is_in_the_page_within_the_stated_error(run: Run) -> None:
    reader = build_reader(view(run))
    assert reader is not None
    header, codes = opened(reader.bundle)
    data = run.measure("token_nll")
    for key, variable in (("nll", "nll_nats"), ("entropy", "entropy_nats"), ("rank", "rank")):
        true = data[variable].to_numpy().astype(float).T
        true[true < 0] = NAN
        share, cap = codes[key] / 254, header["scales"][key]["cap"]
        read = cap * share**2 if header["scales"][key]["scale"] == "root" else 2 ** (cap * share) - 1
        assert np.array_equal(codes[key] == 255, np.isnan(true))
        worst = np.nanmax(np.abs(read - true))
        assert f"{worst:.2g} " in reader.notes[0]
        assert worst < 0.016 * np.nanmax(true)
    # What comes out verbatim, as the measure has it.
    assert np.array_equal(codes["extracted"], run.measure("extraction")["in_extractable_suffix"].to_numpy().T)


def test_texts_and_tokens_belong_together(run: Run) -> None:
    reader = build_reader(view(run))
    assert reader is not None
    header, _ = opened(reader.bundle)
    at = 0
    for one in header["sets"]:
        for passage in one["passages"]:
            stored = run.probes[one["name"]].passages[passage["id"]]
            assert (passage["at"], passage["text"], len(passage["pieces"])) == (at, stored.text, len(stored))
            at += len(stored)


def test_pieces_of_text_where_tokens_cut_characters() -> None:
    # "é" is 2 bytes, "𝄞" 4 bytes and two units in JavaScript. Tokens: "a", first and second byte of "é", all of "𝄞",
    # and a special token without text.
    passage = Passage(
        text="aé𝄞",
        token_ids=np.array([5, 6, 7, 8, 0], np.int32),
        byte_offsets=np.array([0, 1, 2, 3, 7, 7], np.int32),
        source="x",
        supervised=np.ones(5, bool),
    )
    shown = _shown_passage(passage, 0, 0)
    assert (shown["start"], shown["pieces"]) == (0, [1, 1, 0, 2, 0])
    assert shown["odd"] == {2: "part of a character", 4: "token 0"}


def test_it_opens_with_what_was_forgotten_and_what_was_learned_most(make_run: MakeRun) -> None:
    def table(*ends: float) -> list[list[list[float]]]:
        return [[[NAN, 5.0] for _ in ends], [[NAN, end] for end in ends]]

    run = make_run({"general": table(6, 9, 4), "novel": table(99, 99, 99), "train": table(1, 3, 0.5)})
    reader = build_reader(view(run))
    assert reader is not None
    assert reader.first_choice == (("general", 1), ("train", 2))


def test_a_large_record_is_cut_and_says_so(make_run: MakeRun) -> None:
    draw = np.random.default_rng(0)
    change = draw.standard_normal(40)
    first = np.full((40, 5), 9.0)
    nll = np.stack([first, first + change[:, None]])
    nll[:, :, 0] = NAN
    reader = build_reader(view(make_run({"train": nll})), most_cells=80)
    assert reader is not None
    header, codes = opened(reader.bundle)
    # 80 cells over 2 checkpoints are 40 tokens: 8 passages of 5, a quarter of them (2) from either end.
    ids = [passage["id"] for passage in header["sets"][0]["passages"]]
    assert len(ids) == 8
    assert codes["nll"].shape == (40, 2)
    order = np.argsort(change)
    assert {*order[:2], *order[-2:]} <= set(ids)
    assert "8 of 40 in train" in reader.notes[1]


def test_many_checkpoints_are_thinned_and_both_ends_kept(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ontogeny.report.passage_reader.MOST_CHECKPOINTS", 3)
    reader = build_reader(view(make_run({"train": np.full((7, 1, 2), 1.0)})))
    assert reader is not None
    assert opened(reader.bundle)[0]["steps"] == [0, 30, 60]
    assert "3 of 7 checkpoints" in reader.notes[-1]


def test_without_single_tokens_there_is_no_reader(make_run: MakeRun) -> None:
    assert build_reader(view(make_run({"train": np.ones((2, 2, 2))}, metrics=True))) is None
