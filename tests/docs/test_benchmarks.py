"""The page shows the figures of docs/benchmarks.json, and no others."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import _asked, names, page, program
from benchmarks.ratios import asked, ratio_with_interval

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_that_of_the_figures() -> None:
    results = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    assert page(results) == (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_a_benchmark_is_a_module_with_main() -> None:
    assert {"startup", "token_nll", "training"} <= set(names())
    assert "__main__" not in names()


def test_figures_by_hand() -> None:
    figures = {"speed": {"ratio": 1.0249, "low": 0.99, "high": 1.06, "ours_ms": 12.3456}, "tokens": 1234.0}
    rows = page({"startup": {"figures": figures, "machine": {"cores": "2"}, "date": "2026-01-01"}}).splitlines()
    assert "| speed | **1.02** (0.99 to 1.06) |  | ours ms 12.35 |" in rows
    assert "| tokens | 1,234 |  |  |" in rows
    assert rows[-1].startswith("2026-01-01: cores 2.")


def test_the_median_ratio_of_pairs_and_its_interval() -> None:
    """Nine ratios: leaving out one at each end keeps the median inside with 1 - 2 (1 + 9) / 2^9 = 96%."""
    ours = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9])  # a machine that slows down
    wanted = np.array([1.5, 1.1, 1.9, 1.3, 1.2, 1.8, 1.4, 1.7, 1.6])
    figures = ratio_with_interval(ours * wanted, ours)
    np.testing.assert_allclose([figures[key] for key in ("ratio", "low", "high")], [1.5, 1.2, 1.8])
    assert figures["n"] == 9


def test_few_pairs_have_no_interval() -> None:
    assert ratio_with_interval([2.0] * 5, [1.0] * 5) == {"ratio": 2.0, "n": 5}
    assert ratio_with_interval([2.0] * 6, [1.0] * 6)["high"] == 2.0  # 1 - 2 / 2^6 = 97%


def test_the_interval_of_a_ratio_holds_it() -> None:
    """Pairs share a drift of a third, each side has noise of 10%; the true ratio is 1."""
    held = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        drift = random.lognormal(0, 0.3, 8)
        figures = ratio_with_interval(*(drift * random.lognormal(0, 0.1, (2, 8))))
        held += figures["low"] <= 1 <= figures["high"]
    assert held >= 400 * 0.93  # 99.2% for a median of 8


def test_a_miss_is_shown_as_one() -> None:
    bounds = [("at least", 1.0), ("at most", 1.0)]
    cells = [_asked({"ratio": 1.1, "low": 0.9, "high": 1.2, "asked": {word: bound}}) for word, bound in bounds]
    assert cells == ["at least 1: met, not by its whole interval", "at most 1: **missed**"]
    assert _asked(asked({"share": 0.01}, at_most=0.03)) == "at most 0.03: met"
    assert _asked(1.0) == _asked({"ratio": 2.0}) == ""


def test_a_table_of_another_program_says_so() -> None:
    entry = {"figures": {}, "machine": {}, "date": "2026-01-01"}
    ends = [page({"startup": entry | more}) for more in ({}, {"program": "0"}, {"program": program("startup")})]
    assert "Measured before programs were recorded." in ends[0]
    assert "The program has changed since." in ends[1]
    assert ends[2].endswith("2026-01-01: .\n")


@pytest.mark.slow
def test_benchmarks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """At their smallest: importing them does not show that what they call is there."""
    from benchmarks import distillation, false_claims_forgetting, training

    monkeypatch.setattr(training, "_STEPS", 2)
    monkeypatch.setattr(training, "_WARM_STEPS", 1)
    assert training.beside_bare_loop()["ratio"] > 0
    monkeypatch.setattr(false_claims_forgetting, "_share", lambda claimed, *_: float(claimed(0)))
    assert len(false_claims_forgetting.main()) > 10
    figures = distillation.beside(512, "pico", "nano", 2, 1, (9.0, 9.0))
    assert {"full, by trl gkd", "top_k, by trl chunked"} <= figures.keys()
