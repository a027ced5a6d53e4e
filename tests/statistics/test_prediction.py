"""Areas by hand; scores of held-out documents."""

import numpy as np

from ontogeny.statistics.prediction import auroc, cross_validated_scores


def test_auroc_by_hand() -> None:
    """Positives 3 and 1, negatives 2 and 0: of four pairs three are right."""
    assert auroc(np.array([3.0, 1, 2, 0]), np.array([True, True, False, False])) == 0.75
    assert auroc(np.array([1.0, 1]), np.array([True, False])) == 0.5


def test_a_feature_that_decides_predicts_other_documents() -> None:
    random = np.random.default_rng(0)
    outcome = np.arange(60) % 2 == 0
    x = np.stack([outcome + 0.1 * random.normal(size=60), random.normal(size=60)], axis=1)
    assert auroc(cross_validated_scores(x, outcome, np.arange(60) // 2, random), outcome) > 0.95
