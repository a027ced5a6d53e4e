"""Areas by hand; scores of held-out documents."""

import numpy as np
import pytest
from scipy.optimize import minimize

from ontogeny.statistics.prediction import (
    auroc,
    cross_validated_scores,
    folds,
    interval_by_permutation,
    predicted_areas,
)


def test_auroc_by_hand() -> None:
    """Positives 3 and 1, negatives 2 and 0: of four pairs three are right."""
    assert auroc(np.array([3.0, 1, 2, 0]), np.array([True, True, False, False])) == 0.75
    assert auroc(np.array([1.0, 1]), np.array([True, False])) == 0.5


def test_a_feature_that_decides_predicts_other_documents() -> None:
    random = np.random.default_rng(0)
    outcome = np.arange(60) % 2 == 0
    x = np.stack([outcome + 0.1 * random.normal(size=60), random.normal(size=60)], axis=1)
    assert predicted_areas(x[None], outcome[None], folds(60, random)[None])[0] > 0.95


def test_the_regression_is_that_of_a_general_minimiser() -> None:
    """Scores of one held-out fold: weights by scipy's BFGS on the same penalised likelihood."""
    random = np.random.default_rng(1)
    x, fold = random.normal(size=(40, 3)), np.arange(40) // 20
    outcome = x[:, 0] + random.normal(size=40) > 0
    trained = (x - x[fold == 1].mean(axis=0)) / x[fold == 1].std(axis=0)
    sign = np.where(outcome[fold == 1], 1, -1)

    def loss(weights: np.ndarray) -> float:
        odds = trained[fold == 1] @ weights[1:] + weights[0]
        return float(np.logaddexp(0, -sign * odds).sum() + (weights[1:] ** 2).sum() / 2)

    weights = minimize(loss, np.zeros(4), tol=1e-12).x
    odds = trained @ weights[1:] + weights[0]
    expected = (odds - odds[fold == 1].mean()) / odds[fold == 1].std()
    assert cross_validated_scores(x[None], outcome[None], fold[None])[0, fold == 0] == pytest.approx(
        expected[fold == 0], abs=1e-4
    )


def test_folds_are_as_equal_as_can_be() -> None:
    assert sorted(np.bincount(folds(13, np.random.default_rng(0))).tolist()) == [2, 2, 3, 3, 3]


def test_an_interval_by_permutation_by_hand() -> None:
    """Draws 0.3, 0.4, 0.5 (quantiles 0.305 and 0.495, mean 0.4), observed 0.7, none 0.5: 0.7 - (0.495 - 0.4) to
    0.7 + (0.5 - 0.305).
    """
    assert interval_by_permutation(0.7, np.array([0.3, 0.4, 0.5]), 0.5) == pytest.approx((0.605, 0.895))
