"""Does an autoencoder write a passage sooner by itself, or from its latents?"""

from typing import Any

import numpy as np

from ontogeny.analyses.recorded.passages import Passages, passages_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import by_document as stats

LEAST = 5


class Routes(Analysis):
    """Accuracy of generation (from a passage's beginning) beside that of reconstruction (from its latents).

    Both of the same passages by the same decoder, so their difference is taken passage by passage; its mean has a 95%
    percentile bootstrap over documents, and over all checkpoints together a p by flipping the signs of documents
    (max-T). Trained and novel passages apart: what is reconstructed of novel text was not learned by heart.
    """

    def analyze(self, run: RecordedRun) -> Result:
        """Compare both."""
        return self.compare(passages_of(run), passages_of(run, of="reconstruction"))

    def compare(self, generation: Passages, reconstruction: Passages) -> Result:
        """The same, from passages laid side by side."""
        random = np.random.default_rng(self.seed)
        steps, left, right = np.intersect1d(generation.step, reconstruction.step, return_indices=True)
        epoch = generation.epoch[left]
        rows: dict[str, Any] = {}
        for name, mask in (("trained", generation.trained), ("novel", ~generation.trained)):
            document = generation.document[mask]
            one, other = (
                stats.by_document(table.accuracy[at][:, mask], document)
                for table, at in ((generation, left), (reconstruction, right))
            )
            apart = (other - one)[:, np.isfinite(other - one).all(axis=0)]
            rows[name] = {
                "generation": np.nanmean(one, axis=1),
                "reconstruction": np.nanmean(other, axis=1),
                "n": apart.shape[1],
                **_paired(apart, random),
            }
        numbers = {"step": steps, "epoch": epoch, "groups": rows}
        return Result(
            verdict=_verdict(rows["trained"], epoch),
            sentences=tuple(_sentences(rows, epoch)),
            reading=_READING,
            numbers=numbers,
        )


def _paired(apart: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """Mean difference at each checkpoint, its interval, and p corrected over checkpoints. `apart` [C, documents]."""
    n = apart.shape[1]
    if n < LEAST:
        return {"lacks": f"{LEAST} documents, it has {n}"}
    weight = random.multinomial(n, np.full(n, 1 / n), stats.DRAWS) / n
    low, high = np.quantile(apart @ weight.T, [0.025, 0.975], axis=1)
    flips = random.choice([-1.0, 1.0], (stats.DRAWS, n))
    t, largest = np.abs(_t(apart, np.ones((1, n))))[0], np.abs(_t(apart, flips)).max(axis=1)
    p = (1 + (largest[:, None] >= t[None] - 1e-12).sum(axis=0)) / (1 + stats.DRAWS)
    return {"difference": apart.mean(axis=1), "low": low, "high": high, "p_corrected": p}


def _t(apart: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Mean over standard error of each checkpoint's differences [C, n], times signs [draws, n]: [draws, C].

    Signs leave the squares as they are: n (n - 1) SE^2 = sum d^2 - n mean^2. Where nothing varies: 0 if nothing
    differs, else infinite.
    """
    n = apart.shape[1]
    mean = signs @ apart.T / n
    squares = (apart**2).sum(axis=1)
    left = squares - n * mean**2
    varies = left > 1e-12 * squares
    error = np.sqrt(np.where(varies, left, 1.0) / (n * (n - 1)))
    found: np.ndarray = np.where(varies, mean / error, np.where(mean == 0, 0.0, np.inf))
    return found


def _verdict(trained: dict[str, Any], epoch: np.ndarray) -> str:
    if "lacks" in trained:
        return f"not assessable: lacks {trained['lacks']}"
    sure = trained["p_corrected"] < 0.05
    if not sure.any():
        return "passages are written as well by themselves as from their latents, at every checkpoint"
    at = int(np.argmax(np.where(sure, np.abs(trained["difference"]), -1)))
    by = trained["difference"][at]
    better = (
        "reconstructed from latents better than written by themselves"
        if by > 0
        else "written by themselves better than reconstructed from latents"
    )
    return f"trained passages are {better}: most at epoch {epoch[at]:g}, accuracy {abs(by):.2f} apart"


def _sentences(rows: dict[str, Any], epoch: np.ndarray) -> list[str]:
    lines = []
    for name, one in rows.items():
        if "lacks" in one:
            lines.append(f"{name}: not assessable, lacks {one['lacks']}")
            continue
        for at in {int(np.argmax(np.abs(one["difference"]))): 0, len(epoch) - 1: 0}:
            lines.append(
                f"{name}, epoch {epoch[at]:g}: accuracy {one['generation'][at]:.2f} by generation, "
                f"{one['reconstruction'][at]:.2f} by reconstruction; difference {one['difference'][at]:+.2f} (95% "
                f"{one['low'][at]:+.2f} to {one['high'][at]:+.2f}), p = {one['p_corrected'][at]:.4f} corrected over "
                f"{len(epoch)} checkpoints, n = {one['n']} documents"
            )
    return lines


_READING = (
    "Both routes end in one decoder, and its weights can hold a passage for either. Generation is given a third of the "
    "passage, reconstruction one token and the latents: levels are not strictly comparable, their order is."
)
