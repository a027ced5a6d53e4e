"""Figures as specifications: what they draw is read back from the data that the chart carries."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ontogeny.report.charts import summarize
from ontogeny.report.figure import discover, draw_all
from ontogeny.report.figures import dynamics
from ontogeny.report.figures.loss import generalisation_gap, training_loss
from ontogeny.report.figures.passages import every_passage
from ontogeny.report.heat_maps import not_measured
from ontogeny.report.remaining_scalars import remaining_scalars
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.store.writer import RunWriter
from tests.analyses.tables import table
from tests.report import synthetic
from tests.report.hand_made import MakeRun, extraction, probe_set
from tests.store.test_run_group import write_metrics

NAN = float("nan")


def rows_of(chart: Any) -> list[dict[str, Any]]:
    """The one table that a chart carries."""
    (table,) = chart.to_dict()["datasets"].values()
    return list(table)


def test_every_figure_is_drawn_for_a_whole_run_and_none_for_an_empty_one(run: Run, tmp_path: Path) -> None:
    names = {name for name, _ in discover()}
    drawn = draw_all(RunGroup([run]))
    # A single term, an objective that is the NLL, and what the synthetic run does not measure.
    absent = {"optimisation-terms", "loss-objective", "tasks-continuation", "tasks-continuation-per-byte"}
    absent |= {"tasks-cloze-perplexity", "generation-repetition", "generation-ending"}
    absent |= {name for name in names if name.startswith("dynamics-")}  # drawn in tests/verbs/test_analyze.py
    absent |= {name for name in names if name.startswith("distillation-")}  # drawn in tests/runs/test_distillation.py
    absent |= {
        "twins-carried-over",
        "landscape-curves",
        "landscape-heat",
        "decisions-predicted-and-realised",
        "ledger-matrix",
        "ledger-retention",
        "ledger-by-place",
        "order-since-last-visit",
        "pareto-front",
        "scaling-sizes",
        "transfer-matrix",
        "forgetting-since-the-start",
        "collapse-at-the-end",
        "collapse-weights-and-loss",
        "collapse-over-runs",
    }  # drawn below
    assert names - set(drawn) == absent
    for figure in drawn.values():
        for chart in figure.panels.values():
            assert chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite")
    assert draw_all(RunGroup([write_metrics(tmp_path / "empty", [])])) == {}


def test_a_band_is_the_mean_and_range_of_few_seeds(tmp_path: Path) -> None:
    runs = [
        write_metrics(tmp_path / f"s{seed}", [(4, "m/x", "a", value)], train={"seed": seed})
        for seed, value in enumerate((1.0, 2.0, 6.0))
    ]
    frame = summarize(RunGroup(runs), "m/x")
    mean = frame[frame["kind"] == "mean"]
    assert mean[["value", "low", "high", "seeds"]].to_numpy().tolist() == [[3.0, 1.0, 6.0, 3.0]]
    assert sorted(frame[frame["kind"] == "run"]["value"]) == [1.0, 2.0, 6.0]


def test_a_band_of_five_seeds_has_a_t_interval(tmp_path: Path) -> None:
    runs = [
        write_metrics(tmp_path / f"s{seed}", [(4, "m/x", "a", float(seed))], train={"seed": seed}) for seed in range(5)
    ]
    mean = summarize(RunGroup(runs), "m/x").query("kind == 'mean'").iloc[0]
    # 0 … 4: mean 2, sd 1.58114, SE 0.70711, t(4) = 2.77645: half 1.96324.
    assert (mean["low"], mean["high"]) == pytest.approx((0.03676, 3.96324), abs=1e-5)


def test_intervals_of_a_single_run_come_from_its_standard_error(tmp_path: Path) -> None:
    values = {"m/x": 2.0, "m/x_se": 0.5, "m/y": 0.3, "m/y_low": 0.1, "m/y_high": 0.6}
    rows = [(0, name, "a", value) for name, value in values.items()]
    runs = RunGroup([write_metrics(tmp_path / "run", rows)])
    assert summarize(runs, "m/x")[["low", "high"]].to_numpy().ravel() == pytest.approx([1.02, 2.98])
    assert summarize(runs, "m/y")[["low", "high"]].to_numpy().ravel() == pytest.approx([0.1, 0.6])
    # Relative: 2 / exp(0.49) and 2 * exp(0.49).
    relative = summarize(runs, "m/x", relative=True)[["low", "high"]].to_numpy().ravel()
    assert relative == pytest.approx([2 / np.exp(0.49), 2 * np.exp(0.49)])


def test_the_gap_is_unseen_minus_trained(make_run: MakeRun) -> None:
    run = make_run(
        {"train": [[[NAN, 1.0]] * 2], "novel": [[[NAN, 2.5]] * 2], "general": [[[NAN, 9.0]] * 2]}, metrics=True
    )
    figure = generalisation_gap(RunGroup([run]))
    assert figure is not None
    assert [(row["scope"], row["value"]) for row in rows_of(figure.chart)] == [("novel − train", 1.5)]


def test_long_training_is_binned(tmp_path: Path) -> None:
    run = write_metrics(tmp_path / "run", [(step, "loss", "train", float(step % 2)) for step in range(900)])
    figure = training_loss(RunGroup([run]))
    assert figure is not None
    rows = rows_of(figure.chart)
    # 900 steps at most 300 points: bins of 3. Steps 0, 1, 2 have 0, 1, 0: mean 1/3, range 0 to 1, in the middle at 1.
    assert len(rows) == 300
    assert (rows[0]["step"], rows[0]["value"], rows[0]["low"], rows[0]["high"]) == (
        1,
        pytest.approx(1 / 3, abs=1e-5),
        0,
        1,
    )
    assert "mean of 3 steps" in figure.caption


def test_losses_that_are_not_numbers_are_left_out(tmp_path: Path) -> None:
    rows = [(0, "loss", "train", 1.0), (1, "loss", "train", NAN), (2, "loss", "train", float("inf"))]
    figure = training_loss(RunGroup([write_metrics(tmp_path / "run", rows)]))
    assert figure is not None
    assert [row["step"] for row in rows_of(figure.chart)] == [0]
    assert training_loss(RunGroup([write_metrics(tmp_path / "nan", rows[1:])])) is None


def test_every_passage_is_ordered_by_its_last_loss(make_run: MakeRun) -> None:
    run = make_run({"train": [[[NAN, 5.0]] * 3, [[NAN, 3.0], [NAN, 1.0], [NAN, 2.0]]]})
    figure = every_passage(RunGroup([run]))
    assert figure is not None
    last = [row for row in rows_of(figure.panels["train"]) if row["step"] == 10]
    assert [(row["row"], row["passage"], row["nll"]) for row in last] == [(0, 1, 1.0), (1, 2, 2.0), (2, 0, 3.0)]


def test_scalars_without_a_figure_get_one_and_companions_and_constants_do_not(tmp_path: Path) -> None:
    rows = [(0, "mine/score", "a", 1.0), (9, "mine/score", "a", 2.0), (0, "mine/score_se", "a", 0.1)]
    rows += [(0, "mine/length", "a", 64.0), (9, "mine/length", "a", 64.0), (0, "measure/mine", "timing", 0.3)]
    figure = remaining_scalars(RunGroup([write_metrics(tmp_path / "run", rows)]), [])
    assert figure is not None
    assert list(figure.panels) == ["mine/score"]
    assert "mine/length = 64" in figure.caption


def test_figures_find_a_measure_by_its_kind(tmp_path: Path) -> None:
    rows = [(step, f"ev/{name}", "train", 2.0 - step) for step in (0, 1) for name in ("nll", "objective", "own")]
    names = ["ev", "evaluation"]
    made = [
        write_metrics(
            tmp_path / name,
            [(step, metric.replace("ev/", f"{name}/"), scope, value) for step, metric, scope, value in rows],
            measures=[{"kind": "evaluation", "name": name}],
        )
        for name in names
    ]
    for name, one in zip(names, made, strict=True):
        drawn = draw_all(RunGroup([one]))
        assert [row["value"] for row in rows_of(drawn["loss-probe-loss"].chart)] == [2.0, 1.0]
        rest = remaining_scalars(RunGroup([one]), drawn.values())
        assert rest is not None
        assert list(rest.panels) == [f"{name}/own"]
    together = draw_all(RunGroup(made))["loss-probe-loss"]
    assert len(rows_of(together.panels["train"])) == 4


def test_bars_count_documents_and_say_how_many(run: Run) -> None:
    drawn = draw_all(RunGroup([run]))
    for name in ("loss-probe-loss", "loss-generalisation-gap", "tasks-cloze", "memorization-extraction"):
        assert re.search(r"6 (passages|items) from \d documents", drawn[name].caption), name
        assert "independent" not in drawn[name].caption
    assert "documents" not in drawn["loss-first-choice"].caption  # without bars


def test_bars_from_stored_standard_errors_say_what_they_assume(make_run: MakeRun) -> None:
    tables = {"train": np.ones((2, 3, 3)), "novel": np.ones((2, 3, 3))}
    drawn = draw_all(RunGroup([make_run(tables, metrics=True)]))
    for name in ("loss-probe-loss", "loss-generalisation-gap"):
        assert "passages counted as independent" in drawn[name].caption
        assert "documents" not in drawn[name].caption


def test_bars_of_a_level_are_t_intervals_over_documents(make_run: MakeRun) -> None:
    # Means 1, 2, 3, 4 of passages with two predicted tokens each: 2.5, sd 1.29099, t(3) = 3.18245: half 2.05428.
    level = [[[NAN, x, x] for x in (1.0, 2, 3, 4)]] * 2
    figure = draw_all(RunGroup([make_run({"train": level}, evaluation=True)]))["loss-probe-loss"]
    (first, _) = rows_of(figure.chart)
    assert (first["low"], first["high"]) == pytest.approx((0.44572, 4.55428), abs=1e-4)
    assert "train 4 passages from 4 documents" in figure.caption


def test_bars_of_a_share_count_documents(tmp_path: Path) -> None:
    # 12 passages, four of each of three documents, none extractable: at most 1 - 0.05^(1/3) = 0.63160.
    sets = {"train": probe_set("train", 12, 3)}
    for i, passage in enumerate(sets["train"].passages):
        sets["train"].passages[i] = replace(passage, source=f"c:{i // 4}#{i}")  # type: ignore[index]
    with RunWriter.create(tmp_path / "r", recipe_yaml="", recipe=synthetic.RECIPE, provenance={}) as writer:
        writer.put_probes(sets["train"])
        for step in (0, 10):
            writer.put_measure("extraction", synthetic.place(step), extraction({"train": [0.0] * 12}))
            writer.add_metric(step, "extraction/share", "train", 0.0)
            writer.add_metric(step, "extraction/share_low", "train", 0.0)
            writer.add_metric(step, "extraction/share_high", "train", 0.24)
    figure = draw_all(RunGroup([open_run(tmp_path / "r")]))["memorization-extraction"]
    assert [row["high"] for row in rows_of(figure.chart)] == pytest.approx([0.63160] * 2, abs=1e-4)
    assert "train 12 passages from 3 documents" in figure.caption


def test_blocks_that_are_no_number_are_named() -> None:
    blocks = np.array([-1, 0, 1, 2])
    assert not_measured(blocks, [-1, 0, 2]) == " Not measured, since it is no number at any checkpoint: block 1."
    assert not_measured(blocks, blocks.tolist()) == ""


def test_a_layer_that_is_no_number_is_named_and_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(passages=8, per_document=2, epochs=(0.0, 1.0, 2.0))
    groups = {
        "status_step": 20,
        "epoch": [0.0, 1.0, 2.0],
        "layer": [0, 1, 2],
        "contrasts": {"exposure": {"best_layer": 1}, "memorization": {"lacks": "documents"}},
    }
    monkeypatch.setattr(dynamics, "_analyzed", lambda runs: iter([(SimpleNamespace(name="r"), groups, made)]))
    group: Any = SimpleNamespace(runs=[None])
    figure, cloud = dynamics.trajectories(group), dynamics.against_compression(group)
    assert figure is not None
    assert cloud is not None
    assert list(figure.panels) == ["block 0 to 1", "block 1 to 2", "block 2 to 3"]
    assert "Not measured" not in figure.caption
    assert "novel 8 passages from 4 documents" in figure.caption
    assert "at block 1" in cloud.caption
    made.score[:, 1] = NAN
    figure, cloud = dynamics.trajectories(group), dynamics.against_compression(group)
    assert figure is not None
    assert cloud is not None
    assert list(figure.panels) == ["block 0 to 1", "block 2 to 3"]
    assert "Not measured, since it is no number there: block 1." in figure.caption
    assert "at block 2" in cloud.caption  # not at the layer that is best only because nothing beats NaN


def test_groups_are_compared_by_probe_set(make_run: MakeRun) -> None:
    table = {"train": np.ones((2, 2, 2)), "general": np.ones((2, 2, 2))}
    runs = [make_run(table, f"r{i}", metrics=True, recipe={"checkpoints": {"every_steps": i}}) for i in (1, 2)]
    figure = draw_all(RunGroup([open_run(run.path) for run in runs]))["loss-probe-loss"]
    assert list(figure.panels) == ["train", "general"]
    assert {row["band"] for row in rows_of(figure.panels["train"])} == {"every_steps 1", "every_steps 2"}


def test_originals_and_twins_are_drawn_from_their_analysis(run: Run, tmp_path: Path) -> None:
    import shutil

    from ontogeny.store import durable
    from ontogeny.store.run import open_run

    path = tmp_path / "with_twins"
    shutil.copytree(run.path, path)
    gain = {"value": [0.0, 1.5], "low": [0.0, 1.0], "high": [0.0, 2.0]}
    one = {"by": "c, swapped", "epoch": [0.0, 2.0], "gain": {"original": gain, "twin": gain}}
    numbers = {"sets": {"t": one, "without gain": {"by": "c, swapped", "why": "too few"}}}
    durable.make_folder(path / "analyses")
    durable.write_json(
        path / "analyses" / "twins.json", {"verdict": "", "sentences": [], "reading": "", "numbers": numbers}
    )
    figure = draw_all(RunGroup([open_run(path)]))["twins-carried-over"]
    (title,) = figure.panels
    assert title == "t: c, swapped"
    (rows,) = figure.panels[title].to_dict()["datasets"].values()
    assert {row["value"] for row in rows if row["epoch"] == 2} == {1.5}
    assert {row["form"] for row in rows} == {"original", "twin"}


def test_decisions_are_drawn_beside_what_came_of_them(tmp_path: Path) -> None:
    """Decisions two steps apart: 1 - 0.98^2 = 0.0396 in two steps is 0.02 in each, 1 - 0.99^2 = 0.0199 is 0.01.

    Batches of 100, 100 and 200 tokens: shares of 0.1, 0.1 and 0.4 were decided, a mean of 100 / 400 = 0.25 in the end,
    and 0, 20 and 100 tokens replayed, 0.1 after two steps and 0.3 after three.
    """
    follow = [(0, "predicted", 0.02), (2, "predicted", 0.02), (4, "predicted", 0.01)]
    follow += [(0, "realised", NAN), (2, "realised", 0.0396), (4, "realised", 0.0199)]
    rows = [(step, f"target_decrease_{name}", "train", value) for step, name, value in follow]
    rows += [(step, "target_decrease_rate", "train", 0.001) for step in (0, 2, 4)]
    rows += [(step, "tokens_seen", "train", seen) for step, seen in enumerate((0.0, 100.0, 200.0, 400.0))]
    rows += [(step, "replayed_old", "train", share) for step, share in enumerate((0.0, 0.2, 0.5, 0.3))]
    rows += [(0, "replay_budget_share_old", "train", 0.1), (2, "replay_budget_share_old", "train", 0.4)]
    rows += [(0, "replay_budget_excess", "train", 0.0), (2, "replay_budget_excess", "train", 0.03)]
    controls = [{"kind": "target_decrease", "target": 0.015}, {"kind": "replay_budget", "bound": 0.02}]
    run = write_metrics(tmp_path / "run", rows, train={"controls": controls})
    panels = draw_all(RunGroup([run]))["decisions-predicted-and-realised"].panels
    drawn = rows_of(panels["target_decrease: decrease of the loss in a step"])
    realised = [(row["step"], row["value"]) for row in drawn if row["of"] == "realised"]
    assert realised == [(0, pytest.approx(0.02)), (2, pytest.approx(0.01))]
    assert [row["value"] for row in drawn if row["of"] == "predicted"] == [0.02, 0.02, 0.01]
    shares = rows_of(panels["replay_budget: share of old"])
    assert [row["value"] for row in shares if row["of"] == "decided"] == pytest.approx([0.1, 0.1, 0.25])
    assert [row["value"] for row in shares if row["of"] == "realised"] == pytest.approx([0, 0.1, 0.3])
    examples = [(step, "replayed_examples_old", "train", share) for step, share in enumerate((0.0, 0.5, 0.4, 0.3))]
    counted = write_metrics(tmp_path / "examples", [*rows, *examples], train={"controls": controls})
    panel = draw_all(RunGroup([counted]))["decisions-predicted-and-realised"].panels["replay_budget: share of old"]
    drawn = rows_of(panel)  # shares of examples: every batch counts alike, (0 + 0.5 + 0.4) / 3 = 0.3
    assert [row["value"] for row in drawn if row["of"] == "realised"] == pytest.approx([0, 0.25, 0.3])
    assert [row["value"] for row in drawn if row["of"] == "decided"] == pytest.approx([0.1, 0.1, 0.2])
    rise = panels["replay_budget: rise of the general loss"].to_dict()
    assert [row["value"] for row in rows_of(panels["replay_budget: rise of the general loss"])] == [0, 0.03]
    assert rise["layer"][0]["encoding"]["y"]["datum"] == 0.02
    without = write_metrics(tmp_path / "without", rows)
    assert "decisions-predicted-and-realised" not in draw_all(RunGroup([without]))


def test_the_caption_of_decisions_is_about_what_is_drawn(tmp_path: Path) -> None:
    rows = [(step, "even_ratio", "train", 1.0) for step in (0, 2)]
    rows += [(step, "tokens_seen", "train", 10.0 * step) for step in range(4)]
    rows += [(step, "replayed_old", "train", 0.1) for step in range(4)] + [(0, "even_share_old", "train", 0.1)]
    aimed = write_metrics(tmp_path / "aimed", rows[:2], train={"controls": [{"kind": "even"}]})
    both = write_metrics(tmp_path / "both", rows, train={"controls": [{"kind": "even"}]})
    dashed = "Dashed: what the control aims at, or the value at which it acts. One run's own numbers: no interval."
    shares = "Shares of replay: the mean of those decided so far, and the share replayed so far. "
    captions = [draw_all(RunGroup([run]))["decisions-predicted-and-realised"].caption for run in (aimed, both)]
    assert captions == [dashed, shares + dashed]


def test_a_share_decided_between_repeats_of_a_batch_holds_from_the_next(tmp_path: Path) -> None:
    """Batches three times in a row: what is decided before steps 1 and 2, 0.2 and 0.4, holds from step 3 on, where 0.6
    is decided: a mean of 0.1 up to step 2, then (0.3 + 0.6) / 4 = 0.225 and (0.3 + 1.2) / 5 = 0.3.
    """
    rows = [(step, "replay_budget_share_old", "train", share) for step, share in enumerate((0.1, 0.2, 0.4, 0.6))]
    rows += [(step, "tokens_seen", "train", 10.0 * step) for step in range(6)]
    rows += [(step, "replayed_examples_old", "train", 0.0) for step in range(6)]
    run = write_metrics(tmp_path, rows, train={"controls": [{"kind": "replay_budget"}], "repeats": 3})
    panel = draw_all(RunGroup([run]))["decisions-predicted-and-realised"].panels["replay_budget: share of old"]
    decided = [row["value"] for row in rows_of(panel) if row["of"] == "decided"]
    assert decided == pytest.approx([0.1, 0.1, 0.1, 0.225, 0.3])


@pytest.mark.parametrize("rate", [1e-6, 0.0005, 0.0123, 0.05, 0.3])
def test_a_constant_rate_is_not_labelled_zero(tmp_path: Path, rate: float) -> None:
    """Vega rounds labels by their distance, which a constant has not, to rounding; numbers that vary keep its rounding.

    A set that is evaluated once is constant, too.
    """
    rows = [(step, "learning_rate", "train", rate * (1 + step * 1e-16)) for step in range(4)]
    rows += [(step, "loss", "train", 2.5 - 0.1 * step) for step in range(4)]
    rows += [(0, "evaluation/nll", "novel", 2.5)]
    drawn = draw_all(RunGroup([write_metrics(tmp_path / "run", rows)]))
    formats = {}
    for name in ("optimisation-learning-rate", "loss-training-loss", "loss-probe-loss"):
        layers = drawn[name].panels[""].to_dict()["layer"]
        formats[name] = {layer["encoding"]["y"].get("axis", {}).get("format") for layer in layers}
    assert formats["optimisation-learning-rate"] == {"~g"}
    assert "~g" not in formats["loss-training-loss"]
    assert "~g" in formats["loss-probe-loss"]


@pytest.mark.slow
def test_the_landscape_is_drawn_from_a_real_run(tmp_path: Path) -> None:
    from ontogeny.core.recipe_file import validate
    from ontogeny.runs.execute import execute
    from ontogeny.store.run import open_run
    from tests.small_runs import tree, write_text

    measure = {"kind": "lr_landscape", "general": "train", "rates": 5, "highest": 10.0}
    recipe = validate(tree(write_text(tmp_path / "words"), measures=[measure]), "test")
    made = open_run(execute(recipe, runs_dir=tmp_path))
    drawn = draw_all(RunGroup([made]))
    assert len(drawn["landscape-curves"].panels) == 3
    seen = made.measure("lr_landscape")
    assert float(seen["loss"].sel(batch="train").values.max()) > 1.5 * float(seen["loss_before"].values.max())
    rows = rows_of(drawn["landscape-curves"].panels["the next batch"])
    assert (
        max(row["loss"] for row in rows) <= 1.5 * float(seen["loss_before"].values.max()) + 1e-3
    )  # higher ones left out
    cells = rows_of(drawn["landscape-heat"].panels[""])
    assert len(cells) == 5 * seen.sizes["checkpoint"]
    most = float(seen["decrease"].sel(batch="new").max())
    assert min(cell["decrease"] for cell in cells) == pytest.approx(-most, abs=1e-5)


@pytest.mark.slow
def test_a_ledger_is_drawn_from_a_real_run(tmp_path: Path) -> None:
    from ontogeny.core.recipe_file import validate
    from ontogeny.runs.execute import execute
    from ontogeny.store.run import open_run
    from ontogeny.verbs.analyze import analyze
    from tests.small_runs import tree, write_text

    content = tree(write_text(tmp_path / "words"), measures=["evaluation", {"kind": "ledger", "share": 1.0}])
    content["train"] |= {"batch": 2, "accumulate": 1}
    made = open_run(execute(validate(content, "test"), runs_dir=tmp_path))
    found = analyze(made.path, ["retention"], [])["retention"]["numbers"]
    drawn = draw_all(RunGroup([open_run(made.path)]))
    nll = open_run(made.path).measure("ledger")["nll"].values
    cells = rows_of(drawn["ledger-matrix"].panels[""])
    assert len(cells) == len(found["step"]) * found["n"]
    points = rows_of(drawn["ledger-by-place"].panels[""])
    assert [one["gain"] for one in points] == pytest.approx((nll[0] - nll[-1]).tolist(), abs=1e-3)
    assert rows_of(drawn["ledger-retention"].chart)


def test_the_cycle_of_a_batch_beside_its_control(tmp_path: Path) -> None:
    """An epoch of 40 steps in two bins: 10 and 30 steps since the last visit are a quarter and three quarters of it."""
    made = write_metrics(tmp_path / "run", [(0, "m/x", "a", 1.0)])
    curve = {"since": [10.0, 30.0], "value": [-0.1, 0.1], "low": [-0.2, 0.0], "high": [0.0, 0.2]}
    found = {"steps": 40.0, "n": 40, "curve": curve, "control": {"n": 40, "curve": curve}}
    (made.path / "analyses").mkdir()
    content = {"verdict": "", "sentences": [], "reading": "", "numbers": {"anticipation": found}}
    (made.path / "analyses" / "order_memory.json").write_text(json.dumps(content))
    drawn = draw_all(RunGroup([open_run(made.path)]))["order-since-last-visit"]
    rows = rows_of(drawn.chart)
    assert [(row["of"], row["since"], row["value"]) for row in rows] == [
        (name, since, value) for name in ("run", "control") for since, value in ((0.25, -0.1), (0.75, 0.1))
    ]
    assert "n = 40" in drawn.caption


def test_the_front_of_configurations(make_run: MakeRun) -> None:
    """Untrained 4.0 on both. One ends at 2.0 and 5.0, one at 3.0 and 4.0, one at 3.5 and 4.5: beaten by the second.

    Shares 0.5 and 1.25 (on the edge of the reference: no area), 0.75 and 1, 0.875 and 1.125. Area of the second:
    (1 - 0.75) x (1.25 - 1) = 0.0625.
    """
    runs = [
        make_run(
            {"novel": [[[4.0]], [[new]]], "general": [[[4.0]], [[general]]], "train": [[[4.0]], [[2.0]]]},
            f"{lr}{seed}",
            metrics=True,
            seed=seed,
            recipe={"about": "", "data": {"split_seed": lr}},
        )
        for lr, new, general in ((1, 2.0, 5.0), (2, 3.0, 4.0), (3, 3.5, 4.5))
        for seed in range(2)
    ]
    figure = draw_all(RunGroup(runs))["pareto-front"]
    assert "0.062 (0.062 to 0.062)" in figure.caption
    assert "Fewer than 5 seeds" in figure.caption
    tables = figure.chart.to_dict()["datasets"].values()
    means = next(table for table in tables if "on the front" in table[0])
    assert [(one["new"], one["general"], one["on the front"]) for one in means] == [
        (0.5, 1.25, "yes"),
        (0.75, 1, "yes"),
        (0.875, 1.125, "no"),
    ]
    assert "pareto-front" not in draw_all(RunGroup(runs[:2]))


def test_sizes_are_joined_where_all_else_is_alike(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sizes and two rates: a line each for the rates. General text from 2.0 to 2.5 is a rise of 0.5."""
    runs = []
    for parameters in (1000, 4000):
        monkeypatch.setitem(synthetic.PROVENANCE, "model", {"parameters": parameters})
        for lr in (1, 2):
            name, model = f"{parameters}-{lr}", {"kind": "ladder", "size": str(parameters)}
            recipe = {"model": model, "data": {"split_seed": lr}}
            nll = {"novel": [[[4.0]], [[3.0]]], "general": [[[2.0]], [[2.5]]], "train": [[[4.0]], [[2.0]]]}
            runs.append(make_run(nll, name, metrics=True, recipe=recipe))
    panels = draw_all(RunGroup(runs))["scaling-sizes"].panels
    rows = rows_of(panels["Rise of the general loss"])
    assert [(one["parameters"], one["series"], one["rise"]) for one in rows] == [
        (1000, "split_seed 1", 0.5),
        (1000, "split_seed 2", 0.5),
        (4000, "split_seed 1", 0.5),
        (4000, "split_seed 2", 0.5),
    ]
    assert "scaling-sizes" not in draw_all(RunGroup(runs[:2]))
