"""What windows and parts take, and which passages count as trained on."""

from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.prepare import Prepared, prepare
from tests.data.test_prepare import SMALL, noise, sources


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    for i in range(30):
        (tmp_path / f"{i:02d}.txt").write_text(noise(60, i))
    return {"kind": "text", "path": f"{tmp_path}/*.txt"}


def made(make_recipe: Any, tokenizer: Any, corpus: Any, take: Any, **data: Any) -> Prepared:
    limits = data.pop("limits", {})
    recipe = make_recipe(corpora={"c": corpus}, train=[{"of": "c/train", **take}], **SMALL | data)
    return prepare(recipe, tokenizer=tokenizer, **limits)


def test_windows_follow_the_text_and_cover_its_passages(make_recipe: Any, byte_tokenizer: Any, corpus: Any) -> None:
    probes = {"all": {"of": "c/train"}, "some": {"of": "c/train", "count": 9}, "novel": {"of": "c/novel"}}
    plain = made(make_recipe, byte_tokenizer, corpus, {}, probes=probes)
    found = made(make_recipe, byte_tokenizer, corpus, {"window": 64, "step": "25%"}, probes=probes)
    text = "".join(p.text for p in found.examples[::4])
    assert text in "".join((Path(corpus["path"]).parent / f"{i:02d}.txt").read_text() for i in _trained(plain))
    assert {len(one) for one in found.examples} == {64}
    assert found.provenance["train"]["windows"] == [
        {"of": "c/train", "window": 64, "step": 16, "windows": len(found.examples)}
    ]
    left = set(sources(plain, "all")) - set(sources(found, "all"))
    assert len(left) <= 2  # behind the last window there is less than a step of text
    assert sources(found, "novel") == sources(plain, "novel")
    assert {len(one) for one in found.probes["some"].passages} <= set(range(8, 33))


def _trained(prepared: Prepared) -> list[int]:
    return sorted({int(s.partition("#")[0][-6:-4]) for s in sources(prepared, "all")})


def test_a_count_takes_the_first_windows(make_recipe: Any, byte_tokenizer: Any, corpus: Any) -> None:
    """20 windows of 64, 16 apart, cover 64 + 19 x 16 = 368 tokens: at most 368 / 32 passages are trained on."""
    probes = {"all": {"of": "c/train"}}
    every = made(make_recipe, byte_tokenizer, corpus, {"window": 64, "step": 16}, probes=probes)
    found = made(make_recipe, byte_tokenizer, corpus, {"window": 64, "step": 16, "count": 20}, probes=probes)
    assert sources(found) == sources(every)[:20]
    assert 8 <= len(found.probes["all"]) <= 11
    assert all(any(p.text in window.text for window in found.examples) for p in found.probes["all"].passages)
    with pytest.raises(DataError, match=r"data.train takes 99999 of c/train, which has \d+ windows of 64 tokens"):
        made(make_recipe, byte_tokenizer, corpus, {"window": 64, "step": 16, "count": 99999})


def test_thirds_share_no_passage(make_recipe: Any, byte_tokenizer: Any, corpus: Any) -> None:
    thirds = {"first": [0, 0.333], "middle": [0.333, 0.667], "last": [0.667, 1]}
    probes = {name: {"of": "c/train", "part": part} for name, part in thirds.items()}
    take = {"window": 64, "step": 16, "part": [0.333, 0.667]}
    found = made(make_recipe, byte_tokenizer, corpus, take, probes=probes | {"trained": {"of": "c/train"}})
    of = {name: set(sources(found, name)) for name in found.probes}
    assert not of["first"] & of["middle"]
    assert not of["middle"] & of["last"]
    assert of["middle"] == of["trained"]
    sizes = [len(of[name]) for name in thirds]
    assert max(sizes) - min(sizes) <= 0.2 * max(sizes)
    for name, probe in found.probes.items():
        held = [any(p.text in window.text for window in found.examples) for p in probe.passages]
        assert all(held) if name in ("middle", "trained") else not any(held)
    assert "trained on" in found.probes["middle"].about
    assert "trained on" not in found.probes["first"].about


def test_a_part_of_passages(make_recipe: Any, byte_tokenizer: Any, corpus: Any) -> None:
    whole = made(make_recipe, byte_tokenizer, corpus, {})
    half = made(make_recipe, byte_tokenizer, corpus, {"part": [0, 0.5]})
    rest = made(make_recipe, byte_tokenizer, corpus, {"part": [0.5, 1]})
    assert [*sources(half), *sources(rest)] in (sources(whole), _without_the_middle(sources(whole), len(half.examples)))
    with pytest.raises(DataError, match=r"data.probes.p: no passage of c/novel lies in its part"):
        made(make_recipe, byte_tokenizer, corpus, {}, probes={"p": {"of": "c/novel", "part": [0.5, 0.5001]}})
    with pytest.raises(DataError, match="no window of 64 tokens lies in that part of c/train"):
        made(make_recipe, byte_tokenizer, corpus, {"window": 64, "step": 16, "part": [0.5, 0.5001]})


def _without_the_middle(every: list[str], place: int) -> list[str]:
    """The passage that stands across the half is in neither."""
    return every[:place] + every[place + 1 :]


def test_a_window_longer_than_the_context(make_recipe: Any, byte_tokenizer: Any, corpus: Any) -> None:
    take = {"window": 64, "step": 16}
    with pytest.raises(DataError, match="a window of 64 tokens of c/train, the model's context holds 63: write a wind"):
        made(make_recipe, byte_tokenizer, corpus, take, limits={"context_length": 63})
    made(make_recipe, byte_tokenizer, corpus, take, limits={"context_length": 64})


def test_text_that_only_windows_reach_is_searched_for_leaks(
    make_recipe: Any, byte_tokenizer: Any, corpus: Any, tmp_path: Path
) -> None:
    """Documents shorter than min_length give no passage, but windows roll over them: copies of what is held out."""
    corpus |= {"deduplicate": "none"}
    big = {"length": 256, "min_length": 250}
    novel = made(make_recipe, byte_tokenizer, corpus, {}, probes={"novel": {"of": "c/novel"}}, **big)
    words = " ".join(p.text for p in novel.probes["novel"].passages).split()
    for i in range(0, len(words) - 39, 30):
        (tmp_path / f"s{i:04d}.txt").write_text(" ".join(words[i : i + 40]))
    data = {"probes": {"novel": {"of": "c/novel"}}, **big}
    with_passages = made(make_recipe, byte_tokenizer, corpus, {}, **data, allow_overlap=True)
    with pytest.raises(DataError, match="share text"):
        made(make_recipe, byte_tokenizer, corpus, {"window": 256, "step": 64}, **data)
    assert not with_passages.provenance["overlap"][0]["exact_passages"]
