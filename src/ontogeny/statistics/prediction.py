"""How well a yes or no can be predicted: area under the ROC curve, and logistic regression over documents."""

import numpy as np

FOLDS = 5
_NEWTON_STEPS = 50
_HALVINGS = 20
_SMALL = 1e-8
_AT_ONCE = 2_000_000
"""Numbers."""


def auroc(scores: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Chance that a positive has a higher score than a negative, ties half (Mann and Whitney 1947); NaN without both.

    `scores` float [..., n], `outcome` bool [..., n]: float64 [...].
    """
    from scipy.stats import rankdata

    n, m = outcome.sum(axis=-1), (~outcome).sum(axis=-1)
    ranks = np.where(outcome, rankdata(scores, axis=-1), 0.0).sum(axis=-1)
    pairs = np.where(n * m > 0, n * m, np.nan)
    return np.asarray((ranks - n * (n + 1) / 2) / pairs)


def _fit(x: np.ndarray, outcome: np.ndarray, inside: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Weights of B logistic regressions, the intercept first: float64 [B, 1 + k].

    `x` [B, n, k], `outcome` bool [B, n], `inside` bool [B, n]: the rows that are fitted to. Maximum likelihood with a
    ridge penalty on all but the intercept, by Newton's method; a step is halved where it would lower the likelihood.
    """
    from scipy.special import expit

    design = np.concatenate([np.ones((*x.shape[:2], 1)), x], axis=2) * inside[..., None]
    ridge = np.array([1e-9, *np.full(x.shape[2], penalty)])
    target, sign = outcome * inside, np.where(outcome, -1.0, 1.0)

    def loss(weights: np.ndarray) -> np.ndarray:
        margins = np.logaddexp(0, sign * np.einsum("bnk,bk->bn", design, weights))
        return np.asarray((margins * inside).sum(axis=1) + (ridge * weights**2).sum(axis=1) / 2)

    weights = np.zeros((len(x), design.shape[2]))
    reached = loss(weights)
    for _ in range(_NEWTON_STEPS):
        chance = expit(np.einsum("bnk,bk->bn", design, weights)) * inside
        gradient = np.einsum("bnk,bn->bk", design, chance - target) + ridge * weights
        curvature = (design * (chance * (1 - chance))[..., None]).transpose(0, 2, 1) @ design
        step = np.linalg.solve(curvature + np.diag(ridge), gradient[..., None])[..., 0]
        for _ in range(_HALVINGS):
            too_far = loss(weights - step) > reached
            if not too_far.any():
                break
            step[too_far] /= 2
        weights = weights - step
        reached = loss(weights)
        if np.abs(step).max() < _SMALL:
            break
    return weights


def cross_validated_scores(x: np.ndarray, outcome: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Each document's log odds by ridge logistic regressions that have not seen its fold: float64 [B, D].

    `x` [B, D, features], one row per document; `outcome` bool [B, D]; `fold` int [B, D]. Scores are standardised by
    those of the training folds, so that folds can be compared. 0 in a fold whose training documents are all alike.
    """
    scores = np.zeros(outcome.shape)
    for i in np.unique(fold):
        held_out = fold == i
        inside = ~held_out
        n = inside.sum(axis=1)[:, None]
        mean = (x * inside[..., None]).sum(axis=1) / n
        about = x - mean[:, None]
        scale = np.sqrt((about**2 * inside[..., None]).sum(axis=1) / n)
        standardised = about / np.where(scale > 0, scale, 1.0)[:, None]
        weights = _fit(standardised, outcome, inside)
        odds = np.einsum("bnk,bk->bn", standardised, weights[:, 1:]) + weights[:, :1]
        middle = (odds * inside).sum(axis=1, keepdims=True) / n
        spread = np.sqrt(((odds - middle) ** 2 * inside).sum(axis=1, keepdims=True) / n)
        told = ((outcome & inside).any(axis=1) & (~outcome & inside).any(axis=1))[:, None]
        scores = np.where(held_out & told, (odds - middle) / np.maximum(spread, 1e-12), scores)
    return scores


def folds(documents: int, random: np.random.Generator) -> np.ndarray:
    """A fold for each document, int [D]: at random, `FOLDS` of them, as equal as can be."""
    return np.asarray(random.permutation(documents) % min(FOLDS, documents))


def predicted_areas(x: np.ndarray, outcome: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Areas under the ROC curves of cross-validated scores, float64 [B]; see `cross_validated_scores`."""
    size = max(_AT_ONCE // x[0].size, 1)  # in pieces of bounded memory
    pieces = [slice(start, start + size) for start in range(0, len(x), size)]
    return np.concatenate(
        [auroc(cross_validated_scores(x[piece], outcome[piece], fold[piece]), outcome[piece]) for piece in pieces]
    )


def interval_by_permutation(observed: float, drawn: np.ndarray, none: float) -> tuple[float, float]:
    """95% interval of a cross-validated number from its draws where nothing predicts; `none`: its value then.

    observed - (q97.5 - mean) to observed + (none - q2.5), q of the draws: the spread that chance gives, which is at its
    largest where nothing predicts. Cross-validation is pessimistic, so the mean of the draws lies below `none`; the
    upper end makes up for that, the lower does not. A bootstrap of the scores would leave out that the regression, too,
    was fitted to these documents.
    """
    low, high = np.quantile(drawn, [0.025, 0.975])
    return observed - float(high - min(drawn.mean(), none)), observed + float(none - low)
