"""Laws over the settings that differ between runs: planted ones are found, noise gives none."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from ontogeny.analyses.across.scaling import ScalingLaws, grid, quantities
from ontogeny.core.errors import StoreError

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


def words(varied: list[str], rows: pd.DataFrame) -> str:
    return "\n\n".join(ScalingLaws().judge(varied, rows, "novel").sentences)


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
        with pytest.raises(StoreError, match="lacks different sizes, lengths, shares or rates"):
            words([key], found)


def test_a_planted_law_and_none() -> None:
    """-0.3 against parameters, 0.3 against tokens per parameter, whose logarithm is minus that of the parameters."""
    said = words(["base.model.size", "train.lr"], table(noise=1e-5)).splitlines()
    at = said.index("Rise of the general loss from first to last, nats per token, against parameters:")
    assert "train.lr=0.1: " in said[at + 1]
    assert " x^-0.3 " in said[at + 1]
    assert "no dependence shown" not in said[at + 1]
    per = said.index("Rise of the general loss from first to last, nats per token, against tokens per parameter:")
    assert " x^0.3 " in said[per + 1]
    said = words(["base.model.size", "train.lr"], table()).splitlines()
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
    law = words(["train.lr"], found).partition(title)[2].splitlines()[1]
    # log y = log 0.5 + 2 log x: k within 0.02 at noise of 1% over a factor of 4
    assert abs(float(law.partition("x^")[2].split()[0]) - 2) < 0.02
    assert "n = 5 seeds at 3 x" in law
    assert law.endswith("; without 1 at which novel did not fall")
    found["general increase"] = 0.1 * np.exp(random.normal(0, 0.01, len(found)))
    assert "no dependence shown" in words(["train.lr"], found)


def test_tokens_that_differ_over_seeds_are_one_x() -> None:
    found = table(power=-0.3)
    found["tokens"] += found["seed"]  # lengths of passages differ from order to order
    said = words(["base.model.size", "train.lr"], found)
    law = said[said.index("against tokens per parameter") :].splitlines()[1]
    k = float(law.partition("x^")[2].split()[0])
    assert abs(k - 0.3) < 0.01  # tokens / parameters: the exponent of parameters, turned round; noise of 1%
    assert "at 3 x" in law


def test_the_verdict_counts_laws_that_show_a_dependence() -> None:
    """Forgetting depends on the size at both rates, once against each of two x; nothing else is planted."""
    laws = ScalingLaws().judge(["base.model.size", "train.lr"], table(), "novel")
    claimed = [law for law in laws.numbers["laws"] if law["law"] is not None and 15 * law["law"].k_p < 0.05]
    assert sum(law["response"] == "general increase" and "over" not in law["against"] for law in claimed) == 4
    assert laws.verdict == f"{len(claimed)} of 15 power laws show a dependence (corrected by Bonferroni over the laws)"
    few = ScalingLaws().judge(["base.model.size", "train.lr"], table(seeds=2), "novel")
    assert few.verdict == "15 power laws fitted: fewer than 5 seeds: no claim"
