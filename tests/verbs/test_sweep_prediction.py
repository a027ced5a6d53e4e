"""Laws over a sweep's table, and a prediction that is written before and judged after."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.verbs import sweep as verb
from ontogeny.verbs.sweep import points_of, sweep
from ontogeny.verbs.sweep_processes import Command
from ontogeny.verbs.sweep_scaling import foretell, grid, laws_text, quantities, verdict_text
from tests.report.hand_made import MakeRun
from tests.small_runs import write_text
from tests.verbs.test_analyze import RECIPE

SIZES = {"pico": 110_000, "nano": 360_000, "micro": 1_320_000}


def table(power: float = -0.3, seeds: int = 5, noise: float = 0.01) -> pd.DataFrame:
    """Forgetting at two rates: 2 (parameters / million)^power; new text's loss is 4, whatever the size."""
    random = np.random.default_rng(0)
    rows = []
    for (size, n), rate, seed in product(SIZES.items(), ("0.1", "0.2"), range(seeds)):
        rows.append(
            {
                "base.model.size": size,
                "train.lr": rate,
                "seed": seed,
                "run": f"{size}{rate}{seed}",
                "parameters": n,
                "tokens": 1e6,
                "general increase": 2 * (n / 1e6) ** power * np.exp(random.normal(0, noise)),
                "nll novel": 4 * np.exp(random.normal(0, noise)),
                "new decay": 0.001 * np.exp(random.normal(0, noise)),
                "new decrease": float(rate),
            }
        )
    return pd.DataFrame(rows)


def test_what_laws_may_be_of() -> None:
    found = table()
    assert list(quantities("base.model.size", found)) == ["parameters", "tokens per parameter"]
    assert quantities("train.lr", found) == {}
    found["data.replay.old.share"] = "0.25"
    assert quantities("data.replay.old.share", found)["data.replay.old.share"].unique().tolist() == [0.25]
    found["data.replay.old.share"] = found["train.lr"].map({"0.1": 0.0, "0.2": 0.5})
    x, y = grid(found, found["data.replay.old.share"], "nll novel")
    assert (x, y.shape) == ([0.5], (1, 5))  # a share of 0 has no logarithm
    found["train.steps"] = "100"
    assert list(quantities("train.steps", found)) == ["train.steps", "tokens per parameter"]
    for key, values in (("data.train.0.at_most", ("null", "20")), ("data.train.0.step", ("25%", "50%"))):
        found[key] = found["train.lr"].map(dict(zip(("0.1", "0.2"), values, strict=True)))
        assert quantities(key, found) == {}
        assert key not in laws_text([key], found, "novel")


def test_a_planted_law_and_none() -> None:
    """-0.3 against parameters, 0.3 against tokens per parameter, whose logarithm is minus that of the parameters."""
    said = laws_text(["base.model.size", "train.lr"], table(noise=1e-5), "novel").splitlines()
    at = said.index("Rise of the general loss from first to last, nats per token, against parameters:")
    assert "train.lr=0.1: " in said[at + 1]
    assert " x^-0.3 " in said[at + 1]
    assert "no dependence shown" not in said[at + 1]
    per = said.index("Rise of the general loss from first to last, nats per token, against tokens per parameter:")
    assert " x^0.3 " in said[per + 1]
    said = laws_text(["base.model.size", "train.lr"], table(), "novel").splitlines()
    new = said.index("Loss of novel at the end against parameters:")
    assert all("no dependence shown" in line for line in said[new + 1 : new + 3])


def test_forgetting_against_what_was_learned() -> None:
    """Planted: general text rises by 0.5 x fall^2, over rates; where it rises by as much at each of them, nothing."""
    random = np.random.default_rng(0)
    rows = [
        {
            "train.lr": rate,
            "seed": seed,
            "run": "",
            "new decrease": float(rate) * np.exp(random.normal(0, 0.01)),
            "general increase": 0.5 * float(rate) ** 2 * np.exp(random.normal(0, 0.01)),
        }
        for rate, seed in product(("0.1", "0.2", "0.4"), range(5))
    ]
    rows += [
        {"train.lr": "1e-7", "seed": seed, "run": "", "new decrease": -0.05, "general increase": 0.1}
        for seed in range(5)
    ]
    found = pd.DataFrame(rows)
    title = "Rise of the general loss from first to last, nats per token, against the fall of novel, over train.lr:"
    law = laws_text(["train.lr"], found, "novel").partition(title)[2].splitlines()[1]
    # log y = log 0.5 + 2 log x: k within 0.02 at noise of 1% over a factor of 4
    assert abs(float(law.partition("x^")[2].split()[0]) - 2) < 0.02
    assert "n = 5 seeds at 3 x" in law
    assert law.endswith("; without 1 at which novel did not fall")
    found["general increase"] = 0.1 * np.exp(random.normal(0, 0.01, len(found)))
    assert "no dependence shown" in laws_text(["train.lr"], found, "novel")


def test_tokens_that_differ_over_seeds_are_one_x() -> None:
    found = table(power=-0.3)
    found["tokens"] += found["seed"]  # lengths of passages differ from order to order
    said = laws_text(["base.model.size", "train.lr"], found, "novel")
    law = said[said.index("against tokens per parameter") :].splitlines()[1]
    k = float(law.partition("x^")[2].split()[0])
    assert abs(k - 0.3) < 0.01  # tokens / parameters: the exponent of parameters, turned round; noise of 1%
    assert "at 3 x" in law


def test_a_prediction_is_kept_and_judged(tmp_path: Path) -> None:
    whole = table()
    varied = ["base.model.size", "train.lr"]
    others = whole[whole["base.model.size"] != "micro"]
    held = ("base.model.size", "micro")
    foretell(tmp_path, held, SIZES["micro"], 5, others, varied, "novel", already_run=False)
    told = json.loads((tmp_path / "prediction.json").read_text())
    assert (told["held_out"], told["against"]) == ("base.model.size=micro", "parameters")
    assert len(told["from_runs"]) == len(others)
    said = verdict_text(tmp_path, varied, whole)
    assert said.count("inside") == 4
    assert said.count("outside") == 0
    doubled = whole.assign(**{"general increase": 2 * whole["general increase"]})
    assert verdict_text(tmp_path, varied, doubled).count("outside") == 2
    assert verdict_text(tmp_path, varied, others).count("not run") == 4
    # Nothing that was predicted is ever written anew.
    foretell(tmp_path, held, SIZES["micro"], 5, doubled, varied, "novel", already_run=True)
    assert json.loads((tmp_path / "prediction.json").read_text()) == told


def test_what_was_run_before_is_no_prediction(tmp_path: Path) -> None:
    whole = table()
    few = whole[(whole["base.model.size"] != "micro") & (whole["seed"] == 0)]
    foretell(tmp_path, ("base.model.size", "micro"), 1e6, 5, few, ["base.model.size"], "novel", already_run=True)
    said = verdict_text(tmp_path, ["base.model.size"], whole)
    assert "were there already" in said
    assert "no prediction: needs two seeds" in said


def test_what_cannot_be_held_out(tmp_path: Path) -> None:
    write_text(tmp_path / "words")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(texts=tmp_path / "words" / "*.txt"), encoding="utf-8")
    for vary, hold_out, said in (
        ("train.steps=4,6", "train.steps=9", "no run has that; write one of the levels, such as train.steps=4"),
        ("train.lr=0.1,0.2", "train.lr=0.1", "neither a size, a length nor a share"),
        ("train.steps=4,6", "train.steps=4", "two other levels must be run, 1 is"),
        ("data.train.0.at_most=null,20,30", "data.train.0.at_most=30", "a law is of numbers, not of 20, 30, null"),
        ("data.train.0.at_most=9,20,30", "data.train.0.at_most=31", "no run has that"),
        ("model.size=pico,nano,micro", "model.size=micro", "is not known before it is run; hold out"),
    ):
        points = points_of(str(recipe), [], [vary], 1, tmp_path / "runs")
        with pytest.raises(OntogenyError, match=said):
            sweep(str(recipe), points, runs_dir=tmp_path / "runs", jobs=1, tell=print, hold_out=hold_out)
    assert not (tmp_path / "runs").exists()


def test_held_out_runs_come_last_and_after_their_prediction(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """General text rises by 0.01 x steps, within seeds by a hundredth more or less: 0.4 at 40, as 10 and 20 say."""
    write_text(tmp_path / "words")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(texts=tmp_path / "words" / "*.txt"), encoding="utf-8")
    points = points_of(str(recipe), [], ["train.steps=40,10,20"], 3, tmp_path)
    batches = []

    def run_all(commands: list[Command], *rest: object) -> None:
        batches.append((len(commands), bool(list(tmp_path.glob("*/prediction.json")))))
        for command in commands:
            steps, seed = (int(one.partition("=")[2]) for one in command.arguments[-2:])
            end = 2 + 0.01 * steps * (1 + 0.01 * (seed - 1))
            nll = {
                "train": [[[4.0]], [[3.0]]],
                "novel": [[[4.0]], [[3.0 + 0.01 * seed]]],
                "general": [[[2.0]], [[end]]],
            }
            make_run(nll, command.name, metrics=True, seed=seed)
            rest[-1][command.key] = None  # type: ignore[index]

    monkeypatch.setattr(verb, "run_all", run_all)
    monkeypatch.setattr(verb, "report", lambda runs, to: None)
    folder = sweep(str(recipe), points, runs_dir=tmp_path, jobs=1, tell=print, hold_out="train.steps=40")
    assert batches == [(6, False), (3, True)]
    told = json.loads((folder / "prediction.json").read_text())
    assert not told["already_run"]
    assert told["predictions"][0]["value"] == pytest.approx(0.4, rel=1e-3)
    said = (folder / "scaling.txt").read_text()
    assert "general increase, all runs: 0.4 (95%" in said
    assert said.count("inside") == 2
    listed = json.loads((folder / "sweep.json").read_text())["points"]
    assert [point["levels"]["train.steps"] for point in listed[-3:]] == ["40", "40", "40"]
