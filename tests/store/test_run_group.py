from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ontogeny.analyses.recorded.items import role_of
from ontogeny.core.progress import Place
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup, RunView, roles
from ontogeny.store.writer import RunWriter
from tests.report.hand_made import MakeRun
from tests.report.synthetic import RECIPE

NLL = {"train": [[[float("nan"), 1.0]]]}


def test_runs_that_differ_in_the_seed_alone_are_one_band(make_run: MakeRun) -> None:
    runs = [make_run(NLL, f"s{seed}", seed=seed) for seed in (0, 1, 2)]
    (band,) = RunGroup(runs).bands
    assert [run.seed for run in band.runs] == [0, 1, 2]
    assert band.label == "synthetic"


def test_any_other_difference_parts_them(make_run: MakeRun) -> None:
    settings = [{"checkpoints": {"every_epochs": n}} for n in (1, 2)]
    runs = [make_run(NLL, f"{i}-{seed}", seed=seed, recipe=one) for i, one in enumerate(settings) for seed in (0, 1)]
    bands = RunGroup(runs).bands
    assert [(band.label, len(band.runs)) for band in bands] == [("every_epochs 1", 2), ("every_epochs 2", 2)]


def test_the_same_seed_twice_is_no_second_seed(make_run: MakeRun) -> None:
    runs = [make_run(NLL, "once", seed=3), make_run(NLL, "again", seed=3)]
    assert [len(band.runs) for band in RunGroup(runs).bands] == [1, 1]
    assert [band.label for band in RunGroup(runs).bands] == ["once", "again"]


def test_the_seed_of_the_run_started_from_is_a_seed(make_run: MakeRun) -> None:
    given: list[list[str]] = [
        [],
        ["train.seed=1"],
        ["train.seed=2"],
        ["train.seed=2", "train.lr=1"],
        ["data.split_seed=1"],
    ]
    runs = [
        make_run(NLL, f"r{i}", recipe={"model": {"kind": "from_run", "overrides": one}}) for i, one in enumerate(given)
    ]
    assert [[run.name for run in band.runs] for band in RunGroup(runs).bands] == [["r0", "r1", "r2"], ["r3"], ["r4"]]


def test_runs_of_one_name_are_told_apart(make_run: MakeRun) -> None:
    run = make_run(NLL)
    assert [one.name for one in RunGroup([run, run]).runs] == ["hand (1)", "hand (2)"]


def test_roles_come_from_the_recipe(make_run: MakeRun) -> None:
    table = NLL["train"]
    (view,) = RunGroup([make_run({"train": table, "novel": table, "general": table})]).runs
    assert roles(view) == {"train": "trained", "novel": "held out", "general": "other"}


def test_roles_come_from_names_without_a_recipe(make_run: MakeRun) -> None:
    table = NLL["train"]
    (view,) = RunGroup([make_run({"train_a": table, "val": table, "code": table}, recipe={"data": {}})]).runs
    assert roles(view) == {"train_a": "trained", "val": "held out", "code": "other"}


def test_roles_from_names_are_read_word_by_word(make_run: MakeRun) -> None:
    """A name that merely contains "test", "val" or "eval" is no held-out set, nor does "trainspotting" train."""
    expected = {
        **dict.fromkeys(("training_rows", "my_train_rows", "trainRows"), "trained"),
        **dict.fromkeys(("validation", "dev", "test-2", "heldOut", "eval_set"), "held out"),
        **dict.fromkeys(("never_trained", "not-trained", "nonTrain", "non_train"), "held out"),
        **dict.fromkeys(("retrieval", "interval_math", "latest_news", "medieval", "contest", "trainspotting"), "other"),
    }
    (view,) = RunGroup([make_run(dict.fromkeys(expected, NLL["train"]), recipe={"data": {}})]).runs
    assert roles(view) == expected


def test_another_part_of_what_is_trained_on_is_not_general_text(make_run: MakeRun) -> None:
    """The middle third is trained on: the first is neither trained on, nor held out, nor of another corpus."""
    data = {
        "train": [{"of": "prose/train", "part": [0.333, 0.667]}],
        "probes": {
            "first": {"of": "prose/train", "part": [0, 0.333]},
            "middle": {"of": "prose/train", "part": [0.333, 0.667]},
            "novel": {"of": "prose/novel"},
            "general": {"of": "code/novel"},
        },
    }
    (view,) = RunGroup([make_run(dict.fromkeys(data["probes"], NLL["train"]), recipe={"data": data})]).runs
    assert roles(view) == {"first": "another part", "middle": "trained", "novel": "held out", "general": "other"}
    assert {name: role_of(view, name) for name in ("first", "general")} == {
        "first": "another part",
        "general": "general",
    }
    assert RunGroup([view.run]).probe_names == ("middle", "novel", "first", "general")


def test_replayed_text_is_trained_on(make_run: MakeRun) -> None:
    """A share of 0 replays nothing; text of the same corpus that is not replayed is another corpus's."""
    takes = {"old": "code/train", "new": "prose/train", "unseen": "code/novel", "never": "verse/train"}
    data = {
        "train": [{"of": "prose/train"}],
        "replay": {"code": {"of": "code/train", "share": 0.1}, "verse": {"of": "verse/train", "share": 0.0}},
        "probes": {name: {"of": of} for name, of in takes.items()},
    }
    (view,) = RunGroup([make_run(dict.fromkeys(takes, NLL["train"]), recipe={"data": data})]).runs
    assert roles(view) == {"old": "replayed", "new": "trained", "unseen": "other", "never": "other"}
    assert role_of(view, "old") == "replayed"


def write_metrics(path: Path, rows: list[tuple[int, str, str, float]], **recipe: Any) -> Run:
    with RunWriter.create(path, recipe_yaml="", recipe={**RECIPE, **recipe}, provenance={}) as writer:
        for row in rows:
            writer.add_metric(*row)
    return open_run(path)


def test_scalars_are_tidy_and_the_last_value_of_a_state_counts(tmp_path: Path) -> None:
    rows = [(0, "epoch", "train", 0.0), (10, "epoch", "train", 1.0)]
    rows += [(5, "m/x", "a", 1.0), (0, "m/x", "a", 2.0), (5, "m/x", "b", 3.0), (5, "m/x", "a", 4.0)]
    frame = RunGroup([write_metrics(tmp_path / "run", rows)]).scalars("m/x", ["a"])
    assert frame[["step", "epoch", "scope", "value"]].to_numpy().tolist() == [[0, 0.0, "a", 2.0], [5, 0.5, "a", 4.0]]
    assert RunGroup([write_metrics(tmp_path / "none", [])]).scalars("m/x").empty


def view_of(path: Path, **kinds: str) -> RunView:
    """A run with groups of these kinds, each seen at steps 0 and 18, eleven steps to an epoch."""
    with RunWriter.create(path, recipe_yaml="", recipe=RECIPE, provenance={}) as writer:
        for step in range(18):
            writer.add_metric(step, "epoch", "train", step / 11)
        for group, kind in kinds.items():
            for step in (0, 18):
                place = Place(step=step, epoch=step / 11, tokens_seen=0, flops=0, flops_counted=0, weights_sha256="")
                data = xr.Dataset({"x": ((), 1.0, {"units": "1", "long_name": "x"})}, attrs={"kind": kind})
                writer.put_measure(group, place, data)
    return RunGroup([open_run(path)]).runs[0]


def test_a_kind_stands_for_the_group_of_its_name_else_for_the_first(tmp_path: Path) -> None:
    both = view_of(tmp_path / "both", a="extraction", b="extraction", extraction="extraction")
    assert both.group_of("extraction") == "extraction"
    assert both.name_of("extraction/share") == "extraction/share"
    renamed = view_of(tmp_path / "renamed", a="extraction", b="extraction")
    assert renamed.group_of("extraction") == "a"
    assert renamed.name_of("extraction/share") == "a/share"
    assert renamed.name_of("loss") == "loss"
    assert renamed.group_of("cloze") == "cloze"


def test_a_name_taken_by_another_kind_is_not_that_kind(tmp_path: Path) -> None:
    taken = view_of(tmp_path / "taken", extraction="cloze")
    assert taken.group_of("extraction") == ""
    assert taken.group_of("cloze") == "extraction"


def test_the_epoch_after_the_last_step_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    # Rows of steps end at 17 / 11 = 1.545; the checkpoint after the last step is at 18 / 11 = 1.636.
    for name, groups in (("looked", {"evaluation": "evaluation"}), ("not", {})):
        view = view_of(tmp_path / name, **groups)
        epochs = RunGroup([view.run]).epochs_at(view, np.array([0, 9, 18]))
        assert epochs == pytest.approx([0, 9 / 11, 18 / 11])


def test_given_levels_take_the_recipes_place(make_run: MakeRun) -> None:
    """Two runs of one recipe and two seeds, of which a sweep says that they differ in the rate."""
    runs = [make_run(NLL, f"r{i}", seed=seed) for i, seed in enumerate((0, 0, 1, 1))]
    given = [{"train.lr": "0.1"}, {"train.lr": "0.2"}] * 2
    bands = RunGroup(runs, levels=given).bands
    assert [(band.label, [run.name for run in band.runs], band.seeds) for band in bands] == [
        ("train.lr=0.1", ["r0", "r2"], (0, 1)),
        ("train.lr=0.2", ["r1", "r3"], (0, 1)),
    ]
    assert [band.levels for band in bands] == given[:2]


def test_seeds_name_the_base_where_the_runs_own_are_alike(make_run: MakeRun) -> None:
    models = [{"kind": "from_run", "overrides": [f"train.seed={seed}"]} for seed in (1, 2)]
    runs = [make_run(NLL, f"r{i}", recipe={"model": model}) for i, model in enumerate(models)]
    (band,) = RunGroup(runs).bands
    assert band.seeds == ("0, base 1", "0, base 2")
