"""An analysis over runs in one file works in `analyze`, in `report`, on the page, and in a sweep."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontogeny.store.run import Run
from ontogeny.verbs import sweep as verb
from ontogeny.verbs.sweep import described, sweep
from ontogeny.verbs.sweep_points import points_of
from ontogeny.verbs.sweep_processes import Command
from tests.architecture.planted.planting import planted
from tests.report.hand_made import MakeRun
from tests.small_runs import write_text
from tests.verbs.conftest import Call
from tests.verbs.test_analyze import RECIPE

pytestmark = pytest.mark.slow  # they train models of their own


@pytest.fixture(autouse=True)
def most_learned() -> Iterator[None]:
    with planted("ontogeny.analyses.across", "most_learned"):
        yield


def losses(novel: float, train: float = 3.0) -> dict[str, list[list[list[float]]]]:
    """At the first and the last checkpoint, from 4."""
    return {"train": [[[4.0]], [[train]]], "novel": [[[4.0]], [[novel]]], "general": [[[2.0]], [[2.5]]]}


@pytest.fixture
def two(make_run: MakeRun) -> list[Run]:
    """New text falls by 1 in a and by 1.5 in b; trained text by 2 in a and by 1 in b."""
    settings = {"checkpoints": {"every_epochs": 2}}
    return [make_run(losses(3.0, 2.0), "a", metrics=True), make_run(losses(2.5), "b", metrics=True, recipe=settings)]


def test_analyze_names_keeps_and_lacks(ontogeny: Call, two: list[Run], tmp_path: Path) -> None:
    paths = [run.path for run in two]
    called = ontogeny("analyze", *paths)
    assert called.code == 0, called.err
    assert "most_learned: b learned most\n  - a: 1.00 nats per token\n  - b: 1.50 nats per token" in called.out
    assert "pareto: not assessable: lacks two configurations with two seeds each" in called.out
    (path,) = tmp_path.glob("comparison-*/analyses/most_learned.json")
    kept = json.loads(path.read_text())
    assert [run["name"] for run in kept["runs"]] == ["a", "b"]
    assert (kept["verdict"], kept["settings"]) == ("b learned most", {"kind": "most_learned", "probe": "novel"})
    asked = ("--kind", "most_learned", "--set", "probe=train", "--to", tmp_path / "elsewhere", "--json")
    assert ontogeny("analyze", *paths, *asked).json()["most_learned"]["numbers"] == {"a": 2.0, "b": 1.0}
    assert (tmp_path / "elsewhere" / "analyses" / "most_learned.json").is_file()
    lacking = ontogeny("analyze", *paths, "--kind", "most_learned", "--set", "probe=other")
    assert (lacking.code, lacking.err) == (2, "ontogeny: not assessable: lacks losses of other in a\n")


@pytest.mark.slow
def test_the_page_computes_it_or_shows_what_is_kept(ontogeny: Call, two: list[Run], tmp_path: Path) -> None:
    paths = [run.path for run in two]
    page = Path(ontogeny("report", *paths, "--json").json()["page"])
    assert "B learned most." in page.read_text()
    assert "A: 1.00 nats per token." in page.read_text()
    assert "b learned most." in (page.parent / "report.txt").read_text()
    assert not list(tmp_path.glob("comparison-*/analyses"))
    ontogeny("analyze", *paths, "--kind", "most_learned", "--set", "probe=train")
    ontogeny("report", *paths)
    assert "A learned most." in page.read_text()
    other = Path(ontogeny("report", *reversed(paths), "--json").json()["page"])  # another order, another comparison
    assert other != page
    assert "B learned most." in other.read_text()
    kept = next(tmp_path.glob("comparison-*/analyses/most_learned.json"))
    content = json.loads(kept.read_text())
    del content["file_sha256"]
    content["runs"][0]["weights_sha256"] = "other"
    kept.write_text(json.dumps(content))
    ontogeny("report", *paths)  # and so are other weights under the same names
    assert "B learned most." in page.read_text()


def test_an_analysis_that_fails_does_not_lose_the_page(ontogeny: Call, two: list[Run]) -> None:
    from tests.architecture.planted.most_learned import MostLearned

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MostLearned, "analyze", lambda self, runs: 1 / 0)
        page = Path(ontogeny("report", *(run.path for run in two), "--json").json()["page"])
    assert "Failed, which is a defect of ontogeny (ZeroDivisionError: division by zero)." in page.read_text()


def test_a_sweep_tells_and_keeps_it(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rates with two seeds. The loss of new text ends at 3.00 and 3.01 or at 2.00 and 2.03: differences -1.00 and
    -0.98, mean -0.99, error 0.01, t(0.975, 1) = 12.706."""
    write_text(tmp_path / "words")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(texts=tmp_path / "words" / "*.txt"), encoding="utf-8")
    points = points_of(str(recipe), [], ["train.lr=0.1,0.2"], 2, tmp_path)

    def run_all(commands: list[Command], *rest: object) -> None:
        for command in commands:
            rate, seed = (text.partition("=")[2] for text in command.arguments[-2:])
            last = 3.0 + 0.01 * int(seed) if rate == "0.1" else 2.0 + 0.03 * int(seed)
            make_run(losses(last), command.name, metrics=True, seed=int(seed), recipe={"batch": rate})
            rest[-1][command.key] = None  # type: ignore[index]

    monkeypatch.setattr(verb, "run_all", run_all)
    folder = sweep(points, runs_dir=tmp_path, jobs=1, tell=print)
    best = points[1].run.name
    assert described(folder)["most_learned"][0] == f"{best} learned most"
    assert f"{best} learned most." in (folder / "report.txt").read_text()
    kept = json.loads((folder / "analyses" / "most_learned.json").read_text())
    assert [run["name"] for run in kept["runs"]] == [point.run.name for point in points]
    effects = (folder / "effects.txt").read_text()
    assert "  train.lr: 0.2 against 0.1: -0.9900 (95% -1.1171 to -0.8629)" in effects
    assert "train.lr=0.2: new 0.50" in (folder / "pareto.txt").read_text()
    assert json.loads((folder / "pareto.json").read_text())["labels"] == ["train.lr=0.1", "train.lr=0.2"]
    # What is kept in the sweep's folder stands on its page: settings by the names that the sweep gave them.
    assert "train.lr: 0.2 against 0.1: -0.9900" in (folder / "report.html").read_text()
    shutil.rmtree(folder)
