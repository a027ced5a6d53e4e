"""`ontogeny analyze`, from a run that recorded what it needs to the page that shows it."""

import json
from pathlib import Path

import pytest

from ontogeny.cli import main
from ontogeny.core.kinds import kinds_of
from ontogeny.report.figure import discover, draw_all
from ontogeny.store.run import open_run
from ontogeny.store.run_group import RunGroup
from tests.small_runs import write_text
from tests.verbs.conftest import Call

NEED_MORE = {"routes", "forgetting", "transfer", "collapse", "rises"}  # an autoencoder, other text, tasks, a landscape
KINDS = set(kinds_of("ontogeny.analyses")) - NEED_MORE
RECIPE = """
name: tiny
data:
  corpora:
    words: {{kind: text, path: "{texts}"}}
  splits: {{train: 0.5, novel: 0.5}}
  length: 32
  min_length: 24
  train:
    - {{of: words/train}}
  probes:
    train: {{of: words/train, at_most: 20}}
    novel: {{of: words/novel, at_most: 20}}
  twins:
    train_swapped: {{of: train}}
    novel_swapped: {{of: novel}}
  allow_overlap: true
tokenizer: {{vocab_size: 300}}
model: {{kind: ladder, size: pico}}
train: {{steps: 8, batch: 6, lr: 0.01}}
checkpoints: {{every_steps: 2}}
measures: [evaluation, {{kind: compression, k: 5}}, reproduction, {{kind: ledger, share: 1.0}}]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analyze")
    write_text(folder / "words")
    (folder / "tiny.yaml").write_text(RECIPE.format(texts=folder / "words" / "*.txt"))
    with pytest.raises(SystemExit):
        main(["run", str(folder / "tiny.yaml"), "--runs", str(folder / "runs"), "--quiet"])
    return next((folder / "runs").glob("tiny-*"))


def test_a_run_is_analyzed_when_it_ends(run: Path) -> None:
    assert {path.stem for path in (run / "analyses").glob("*.json")} == KINDS
    page = (run / "report.html").read_text()
    assert "Memorization and the layers" in page
    assert "How to read this" in page
    assert "how to read it" in (run / "report.txt").read_text().lower()
    assert list((run / "figures").glob("dynamics-trajectories-*.svg"))


def test_every_figure_of_it_is_drawn(run: Path) -> None:
    drawn = draw_all(RunGroup([open_run(run)]))
    names = {name for name, _ in discover() if name.startswith("dynamics-")}
    assert names - set(drawn) == set()
    points = drawn["dynamics-trajectories"].panels["block 0 to 1"].to_dict()
    assert {row["group"] for table in points["datasets"].values() for row in table} >= {"novel"}


def test_in_words_and_as_json(ontogeny: Call, run: Path) -> None:
    called = ontogeny("analyze", run)
    assert (called.code, called.err) == (0, "")
    assert all(f"{kind}: " in called.out for kind in KINDS)
    found = ontogeny("analyze", run, "--kind", "velocity", "--json").json()
    assert list(found) == ["velocity"]
    assert found["velocity"]["settings"] == {"kind": "velocity", "seed": 0, "of": "generation", "score": "score"}


@pytest.mark.slow
def test_the_same_twice_gives_the_same_file(ontogeny: Call, run: Path) -> None:
    ontogeny("analyze", run)
    before = {path.name: path.read_bytes() for path in (run / "analyses").iterdir()}
    ontogeny("analyze", run)
    assert {path.name: path.read_bytes() for path in (run / "analyses").iterdir()} == before


def test_files_are_strict_json(run: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in a file")

    for path in (run / "analyses").iterdir():
        json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kind", "grups"], "did you mean 'groups'"),
        (["--kind", "groups", "--set", "score=scale_fre"], "did you mean 'scale_free'"),
    ],
)
def test_wrong_use_is_one_line(ontogeny: Call, run: Path, arguments: list[str], said: str) -> None:
    called = ontogeny("analyze", run, *arguments)
    assert called.code == 2
    assert said in called.err
    assert called.err.count("\n") == 1


def test_what_a_run_lacks_is_named(ontogeny: Call, run: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(run, other)
    shutil.rmtree(other / "trajectory.zarr" / "compression")
    called = ontogeny("analyze", other)
    assert called.code == 0
    assert f"groups: not assessable: {other} has no measure 'compression'" in called.out
    called = ontogeny("analyze", other, "--kind", "groups")
    assert called.code in (2, 3)
    assert "has no measure 'compression'" in called.err
    assert "--kind compression" in called.err


def test_an_analysis_says_what_a_run_lacks(ontogeny: Call, run: Path) -> None:
    called = ontogeny("analyze", run, "--kind", "routes")
    assert called.code == 2
    assert "has no measure 'reconstruction'" in called.err
    assert len(called.err.splitlines()) == 1


def test_a_broken_analysis_loses_neither_the_others_nor_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ontogeny.analyses.velocity import Velocity
    from ontogeny.verbs.analyze import analyze

    def broken(self: Velocity, run: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Velocity, "analyze", broken)
    found = analyze(run, [], [])
    assert found["velocity"]["verdict"] == "failed, which is a defect of ontogeny (ZeroDivisionError: division by zero)"
    assert set(found) == set(kinds_of("ontogeny.analyses"))
    with pytest.raises(ZeroDivisionError):
        analyze(run, ["velocity"], [])
