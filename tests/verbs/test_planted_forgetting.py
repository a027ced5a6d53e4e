"""Real trainings: what cannot forget, what forgets all, and what replays the old text alone."""

from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.recipe_file import validate
from ontogeny.report.figure import draw_all
from ontogeny.runs.execute import execute
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.verbs.analyze import analyze

CORPORA = {
    "verse": {"kind": "invented", "form": "verse", "documents_count": 600, "lines": 4},
    "sums": {"kind": "invented", "form": "equations", "documents_count": 60, "lines": 4},
}


def trained(folder: Path, name: str, *, data: dict[str, Any], train: dict[str, Any], **changes: Any) -> Run:
    """A run of a tiny model that learns sums; verse is what it is not trained on."""
    recipe: dict[str, Any] = {
        "name": name,
        "data": {
            "corpora": CORPORA,
            "splits": {"train": 0.7, "novel": 0.3},
            "length": 48,
            "min_length": 24,
            "train": [{"of": "sums/train"}],
            "probes": {"novel": {"of": "sums/novel", "at_most": 12}, "general": {"of": "verse/novel", "at_most": 12}},
            "allow_overlap": True,
            **data,
        },
        "tokenizer": {"vocab_size": 300, "corpora": ["verse", "sums"]},
        "model": {"kind": "ladder", "size": "pico"},
        "train": {"steps": 30, "batch": 8, "lr": 0.01, **train},
        "checkpoints": {"steps": [0, 10, 20, 30]},
        "measures": ["evaluation", "token_nll", "weight_drift", "cloze", "continuation"],
        **changes,
    }
    if "from_run" in str(recipe["model"]):
        del recipe["tokenizer"]
    return open_run(execute(validate(recipe, "test"), runs_dir=folder))


def found_of(run: Run, kind: str, **settings: str) -> dict[str, Any]:
    numbers: dict[str, Any] = analyze(run.path, [kind], [f"{key}={value}" for key, value in settings.items()])[kind]
    return numbers


@pytest.mark.slow
def test_a_frozen_model_forgets_nothing(tmp_path: Path) -> None:
    """Rate 0: every difference of every number is exactly 0, and so are their intervals; no weight moves."""
    run = trained(tmp_path, "frozen", data={}, train={"lr": 0.0, "steps": 6}, checkpoints={"steps": [0, 3, 6]})
    found = found_of(run, "forgetting")
    assert len(found["numbers"]["sets"]) >= 6
    for one in found["numbers"]["sets"].values():
        for key in ("since_first", "since_best"):
            assert {one[key][end] for end in ("value", "low", "high")} == {0.0}
    assert found["verdict"].startswith("nothing that was looked at is surely worse")
    collapse = found_of(run, "collapse", among=str(tmp_path / "*"))
    assert collapse["numbers"]["across"]["points"] == {"with replay": [], "without replay": [[0.0, 0.0]]}
    assert collapse["verdict"] == "no general number surely differs at the end from before training"
    assert {number for row in collapse["numbers"]["mad"]["mad"] for number in row} == {0.0}
    drawn = draw_all(RunGroup([open_run(run.path)]))
    assert {"forgetting-since-the-start", "collapse-at-the-end", "collapse-weights-and-loss"} <= set(drawn)


@pytest.mark.slow
def test_a_model_that_is_reset_forgets_all(tmp_path: Path) -> None:
    """Weights drawn anew before the last step, which has next to no rate: all that was learned of sums is gone."""
    run = trained(
        tmp_path,
        "reset",
        data={},
        train={
            "lr": {"shape": "linear", "value": 0.01, "final": 0.0},
            "interventions": [{"kind": "shrink_and_perturb", "at": {"steps": [29]}, "shrink": 0, "noise": 1}],
        },
        measures=["evaluation", "token_nll"],
    )
    one = found_of(run, "forgetting")["numbers"]["sets"]["novel: loss"]
    learned = one["mean"][0] - min(one["mean"])
    assert learned > 0.5
    assert one["since_best"]["low"] > 0
    assert one["since_best"]["value"] == pytest.approx(learned, rel=0.2)
    assert abs(one["since_first"]["value"]) < 0.2 * learned


@pytest.mark.slow
def test_tasks_in_turn_are_found_and_drawn(tmp_path: Path) -> None:
    """Verse, then sums: each learned in its stage, and R has the means of `evaluation` at the ends of the stages."""
    run = trained(
        tmp_path,
        "tasks",
        data={
            "train": [{"of": "verse/train", "count": 32}, {"of": "sums/train", "count": 32}],
            "probes": {"verse": {"of": "verse/novel", "at_most": 12}, "sums": {"of": "sums/novel", "at_most": 12}},
        },
        train={"steps": None, "epochs": 1, "order": "sequential", "batch": 2},
        checkpoints={"steps": [0, 16, 32]},
    )
    numbers = found_of(run, "transfer")["numbers"]
    assert numbers["step"] == [0, 16, 32]
    seen = open_run(run.path).measure("evaluation")["nll"].sel(probe=["verse", "sums"]).values
    assert [value for row in numbers["R"] for value in row] == pytest.approx(seen.ravel().tolist(), abs=1e-5)
    assert [one["difference"]["low"] > 0 for one in numbers["learned"]] == [True, True]
    cells = draw_all(RunGroup([open_run(run.path)]))["transfer-matrix"].panels[""].to_dict()
    assert len(next(iter(cells["datasets"].values()))) == 6


@pytest.mark.slow
def test_pure_replay_leaves_the_general_loss_as_it_was(tmp_path: Path) -> None:
    """A model that knows verse goes on with verse alone, or with sums alone: only the second forgets verse."""
    base = trained(
        tmp_path,
        "base",
        data={"train": [{"of": "verse/train"}]},
        train={"steps": 300, "lr": {"shape": "cosine", "value": 0.01, "final": 0.05}},
        measures=["evaluation"],
        checkpoints={"steps": [0, 300]},
    )
    changes = {}
    for name, share in (("replayed", 1.0), ("new", None)):
        data = {"replay": {"old": {"of": "verse/train", "share": share}}} if share else {}
        run = trained(tmp_path, name, data=data, train={"lr": 0.001}, model={"kind": "from_run", "run": str(base.path)})
        changes[name] = found_of(run, "forgetting")["numbers"]["sets"]["general: loss"]
    assert abs(changes["replayed"]["since_first"]["value"]) < 0.02
    assert changes["replayed"]["p_adjusted"]["since_first"] > 0.05 or changes["replayed"]["since_first"]["value"] < 0
    assert changes["new"]["since_first"]["low"] > 0.1
