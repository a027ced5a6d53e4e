"""How well a yes or no can be predicted: area under the ROC curve, and logistic regression across documents."""

from dataclasses import dataclass

import numpy as np

FOLDS = 5


def auroc(scores: np.ndarray, outcome: np.ndarray) -> float:
    """Chance that a positive has a higher score than a negative, ties half (Mann and Whitney 1947); NaN without both.

    `scores` float [n], `outcome` bool [n].
    """
    from scipy.stats import rankdata

    n, m = int(outcome.sum()), int((~outcome).sum())
    if not n or not m:
        return float("nan")
    return float((rankdata(scores)[outcome].sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class _Logistic:
    """Logistic regression on standardised columns; `weights` begins with the intercept."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def score(self, x: np.ndarray) -> np.ndarray:
        """Log odds of each row."""
        return np.asarray((x - self.mean) / self.scale @ self.weights[1:] + self.weights[0])


def _fit(x: np.ndarray, outcome: np.ndarray, penalty: float = 1.0) -> _Logistic:
    """Maximum likelihood with a ridge penalty on all but the intercept."""
    from scipy.optimize import minimize
    from scipy.special import expit

    mean, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    design = np.concatenate([np.ones((len(x), 1)), (x - mean) / scale], axis=1)
    sign = np.where(outcome, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ weights)
        value = float(np.logaddexp(0, -margin).sum() + penalty / 2 * (weights[1:] ** 2).sum())
        gradient = -(design.T @ (sign * expit(-margin)))
        gradient[1:] += penalty * weights[1:]
        return value, gradient

    best = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    return _Logistic(mean, scale, best.x)


def cross_validated_scores(
    x: np.ndarray, outcome: np.ndarray, document: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Each item's log odds by a ridge logistic regression that has not seen its document: float64 [n].

    `x` [n, features], `outcome` bool [n], `document` int [n]. `FOLDS` folds of whole documents; scores are standardised
    by those of the training folds, so that folds can be compared. 0 in a fold whose training items are all alike.
    """
    ids = random.permutation(np.unique(document))
    fold_of = {int(name): i % min(FOLDS, len(ids)) for i, name in enumerate(ids)}
    fold = np.array([fold_of[int(name)] for name in document])
    scores = np.zeros(len(x))
    for i in np.unique(fold):
        held_out = fold == i
        if len(np.unique(outcome[~held_out])) == 2:
            model = _fit(x[~held_out], outcome[~held_out])
            train = model.score(x[~held_out])
            scores[held_out] = (model.score(x[held_out]) - train.mean()) / max(float(train.std()), 1e-12)
    return scores
