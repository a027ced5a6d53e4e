"""Does an autoencoder write a passage sooner by itself, or from its latents?"""

from typing import NotRequired, TypedDict

import numpy as np

from ontogeny.analyses.recorded.passages import Passages, passages_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics.documents import means_by_document
from ontogeny.statistics.estimates import counted, shortage
from ontogeny.statistics.intervals import t_interval
from ontogeny.statistics.permutations import max_t_of_signs

LEAST = 6
"""Documents, below which nothing is compared: the signs of five can give no p below 2 / 2^5 = 0.06."""


class RoutesOfGroup(TypedDict):
    """Mean accuracies of one group of passages at each checkpoint, float64 [C], and their difference, or its lack."""

    generation: np.ndarray
    reconstruction: np.ndarray
    n: int
    """Documents."""
    lacks: NotRequired[str]
    difference: NotRequired[np.ndarray]
    """Reconstruction minus generation."""
    low: NotRequired[np.ndarray]
    high: NotRequired[np.ndarray]
    p_corrected: NotRequired[np.ndarray]


class Routes(Analysis):
    """Accuracy of generation (from a passage's beginning) beside that of reconstruction (from its latents).

    Both of the same passages by the same decoder, so their difference is taken passage by passage; its mean has a 95% t
    interval over documents, and over all checkpoints together a p by flipping the signs of documents
    (max-T). Trained and novel passages apart: reconstruction of novel text cannot be memory.
    """

    def analyze(self, run: RecordedRun) -> Result:
        """Compare both."""
        return self.compare(passages_of(run), passages_of(run, of="reconstruction"))

    def compare(self, generation: Passages, reconstruction: Passages) -> Result:
        """The same, from two tables of the same passages."""
        random = np.random.default_rng(self.seed)
        steps, left, right = np.intersect1d(generation.step, reconstruction.step, return_indices=True)
        epoch = generation.epoch[left]
        groups: dict[str, RoutesOfGroup] = {}
        for name, inside in (("trained", generation.trained), ("novel", ~generation.trained)):
            document = generation.document[inside]
            generated = means_by_document(generation.accuracy[left][:, inside], document)
            rebuilt = means_by_document(reconstruction.accuracy[right][:, inside], document)
            difference = rebuilt - generated
            difference = difference[:, np.isfinite(difference).all(axis=0)]
            groups[name] = RoutesOfGroup(
                generation=np.nanmean(generated, axis=1),
                reconstruction=np.nanmean(rebuilt, axis=1),
                n=difference.shape[1],
            )
            _compare(groups[name], difference, random)
        numbers = {"step": steps, "epoch": epoch, "groups": groups}
        verdict, sentences = _verdict(groups["trained"], epoch), _sentences(groups, epoch)
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)


def _compare(group: RoutesOfGroup, difference: np.ndarray, random: np.random.Generator) -> None:
    """Add the mean of `difference` [C, documents], its interval, and p corrected over checkpoints; or what it lacks."""
    n = group["n"]
    if n < LEAST:
        group["lacks"] = shortage(LEAST, "document", n, "take the probe set from more documents")
        return
    group["difference"], group["low"], group["high"], _ = np.array([t_interval(row) for row in difference]).T
    group["p_corrected"] = max_t_of_signs(difference, random)


def _verdict(trained: RoutesOfGroup, epoch: np.ndarray) -> str:
    if "lacks" in trained:
        return f"not assessable: lacks {trained['lacks']}"
    sure = trained["p_corrected"] < 0.05
    if not sure.any():
        return "no sign that trained passages are written better by themselves or from their latents, at any checkpoint"
    at = int(np.argmax(np.where(sure, np.abs(trained["difference"]), -1)))
    difference = trained["difference"][at]
    if difference > 0:
        better = "reconstructed from latents better than written by themselves"
    else:
        better = "written by themselves better than reconstructed from latents"
    return f"trained passages are {better}: most at epoch {epoch[at]:g}, accuracy {abs(difference):.2f} apart"


def _sentences(groups: dict[str, RoutesOfGroup], epoch: np.ndarray) -> list[str]:
    lines = []
    for name, group in groups.items():
        if "lacks" in group:
            lines.append(f"{name}: not assessable, lacks {group['lacks']}")
            continue
        largest, last = int(np.argmax(np.abs(group["difference"]))), len(epoch) - 1
        for at in dict.fromkeys((largest, last)):
            lines.append(
                f"{name}, epoch {epoch[at]:g}: accuracy {group['generation'][at]:.2f} by generation, "
                f"{group['reconstruction'][at]:.2f} by reconstruction; difference {group['difference'][at]:+.2f} (95% "
                f"{group['low'][at]:+.2f} to {group['high'][at]:+.2f}), p = {group['p_corrected'][at]:.4f} corrected "
                f"over {counted(len(epoch), 'checkpoint')}, n = {group['n']} documents"
            )
    return lines


_READING = (
    "Both routes end in one decoder, and its weights can hold a passage for either. Generation is given a third of the "
    "passage, reconstruction one token and the latents: levels are not strictly comparable, their order is."
)
