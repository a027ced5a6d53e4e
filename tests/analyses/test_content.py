"""Shares and gaps by hand; repetition where it is planted, and none in noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ontogeny.analyses.content import Content
from ontogeny.analyses.recorded.passages import _copies
from tests.analyses.tables import table


def test_shares_and_gap_by_hand() -> None:
    """20 of 40 trained passages are memorized at the last two checkpoints. NLL of trained ones 1, of novel ones 3."""
    made = table()
    nll = np.where(made.trained, 1.0, 3.0)[None].repeat(len(made.epoch), axis=0)
    found = Content().tabulate(table(nll=nll)).numbers
    last = found["rows"]["all"][-1]
    assert (last["memorized"], last["n"], last["share"], last["median_accuracy"]) == (20, 40, 0.5, 0.5)
    assert found["rows"]["all"][0]["share"] == 0
    assert found["gap"][-1]["value"] == pytest.approx(2)


def test_repetition_is_found() -> None:
    """Passages with 8 copies are the memorized ones."""
    made = table()
    copies = np.where(made.memorized[-1] > 0.5, 8, 1)
    found = Content().tabulate(table(copies=copies)).numbers
    assert found["tests"]["copies"]["rho"] == pytest.approx(1)
    assert found["tests"]["copies"]["p"] == pytest.approx(1 / 2001)  # no permutation of 2,000 reaches it
    assert found["rows"]["8 copies"][-1]["share"] == 1


def test_the_statistics_are_those_of_another_implementation() -> None:
    """With ties, and by chance: scipy's p, from large samples, is near that of 2,000 permutations of 40 documents."""
    random = np.random.default_rng(3)
    accuracy, copies = np.round(random.random((9, 80)), 1), random.integers(1, 4, 80)
    source = np.array([f"{'ab'[i % 2]}:{i}" for i in range(80)], dtype=object)
    made = replace(table(copies=copies, accuracy=accuracy), source=source)
    tests = Content().tabulate(made).numbers["tests"]
    final = accuracy[-1, made.trained]
    spearman = stats.spearmanr(copies[made.trained], final)
    kruskal = stats.kruskal(*(final[i::2] for i in range(2)))
    assert (tests["copies"]["rho"], tests["content"]["H"]) == pytest.approx((spearman.statistic, kruskal.statistic))
    assert (tests["copies"]["p"], tests["content"]["p"]) == pytest.approx((spearman.pvalue, kruskal.pvalue), abs=0.03)


@pytest.mark.slow
def test_copies_at_random_do_nothing() -> None:
    """100 draws at 5%: 12 or more have a probability below 0.5%."""
    false = 0
    for seed in range(100):
        copies = np.random.default_rng(seed).integers(1, 4, 80)
        accuracy = np.random.default_rng(500 + seed).random((9, 80))
        false += Content().tabulate(table(copies=copies, accuracy=accuracy)).numbers["tests"]["copies"]["p"] < 0.05
    assert false <= 11


@pytest.mark.parametrize(
    ("source", "copies"), [("c:canary-3-x16/2", 16), ("c:verse-0-x4/0", 4), ("c:verse-1-x1", 1), ("prose:for-x", 1)]
)
def test_copies_are_read_from_the_name(source: str, copies: int) -> None:
    assert _copies(source) == copies


def test_kinds_that_do_not_differ_are_not_said_to() -> None:
    """Twelve documents of two kinds; their accuracy depends on the kind, or on nothing."""
    source = np.array([f"c{i % 2}:{i}" for i in range(24)], dtype=object)
    accuracy = np.random.default_rng(0).random((9, 24))
    alike = Content().tabulate(table(passages=12, source=source, accuracy=accuracy))
    assert any("do not differ significantly" in line for line in alike.sentences)
    unlike = Content().tabulate(table(passages=12, source=source, accuracy=accuracy + np.arange(24) % 2))
    assert any("kinds of content differ in accuracy" in line for line in unlike.sentences)


def test_a_loss_that_is_no_number_is_called_so() -> None:
    made = table()
    made.nll[-1] = np.nan
    assert any("the NLL is no number at the end: look at" in line for line in Content().tabulate(made).sentences)
