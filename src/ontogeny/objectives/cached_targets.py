"""A teacher's targets from a cache in the place of its logits, and what a cache keeps of logits."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.cached_targets import TargetForm, TargetRows
from ontogeny.core.errors import OntogenyError
from ontogeny.objectives.divergence import Distribution, Divergence
from ontogeny.objectives.tiled_divergence import LOWEST, Buckets, Softmax, Target, Taught, most_probable


def taught_by(rows: TargetRows, positions: Tensor) -> Taught:
    """What cached targets say at some of their positions, int64 [n].

    Raises OntogenyError for a position that they do not hold.
    """
    places = torch.searchsorted(rows.positions, positions)
    if not torch.equal(rows.positions[places.clamp_(max=len(rows.positions) - 1)], positions):
        raise OntogenyError("the cached targets hold no target for a position that a loss term compares")
    ids = rows.ids[places]
    if rows.logits is None or rows.rests is None:
        assert rows.negative_entropy is not None
        return Drawn(form=rows.form, ids=ids, negative_entropy=rows.negative_entropy[places])
    return Kept(form=rows.form, ids=ids, logits=rows.logits[places], rests=rows.rests[places])


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The teacher's greatest logits, and the mass of all other ids at each temperature: `TargetForm.row`."""

    form: TargetForm
    ids: Tensor
    logits: Tensor
    rests: Tensor

    def at(self, rows: slice, temperature: float, top_k: int | None) -> Target:
        """As `Taught` says: exact over the buckets, at a temperature that is kept. Raises OntogenyError at others."""
        rest = self.rests[rows, self.form.place(temperature), None]
        log = torch.cat([(self.logits[rows] / temperature).clamp_(min=LOWEST), rest], dim=1)
        return Buckets(distribution=Distribution(log=log.log_softmax(-1)), ids=self.ids[rows])


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Ids that were drawn from the teacher's distribution P at the one temperature that is read.

    An estimate of KL(P || Q) = sum P log P - sum P log Q: the first sum is kept, the second is the mean of log Q over
    the drawn ids. Its mean over draws is KL(P || Q), that of its gradient Q - (share of the draws) is Q - P. One
    estimate may be below 0.
    """

    form: TargetForm
    ids: Tensor
    negative_entropy: Tensor

    def at(self, rows: slice, temperature: float, top_k: int | None) -> Target:
        """As `Taught` says. Raises OntogenyError at another temperature."""
        self.form.place(temperature)
        return Drawn(form=self.form, ids=self.ids[rows], negative_entropy=self.negative_entropy[rows])

    def against(self, student: Softmax, divergence: Divergence, with_slopes: bool) -> tuple[Tensor, Tensor | None]:
        """As `Target` says, of the forward divergence."""
        values = self.negative_entropy - student.log_of(self.ids).mean(-1)
        if not with_slopes:
            return values, None
        q = student.probabilities
        share = q.new_full((1, 1), -1 / self.ids.shape[1]).expand(self.ids.shape)
        return values, q.scatter_add_(1, self.ids, share)


def kept_of(logits: Tensor, form: TargetForm, uniform: np.ndarray | None = None) -> np.ndarray:
    """`form.row` [n]: what a cache keeps of a teacher's logits, [n, V].

    `uniform`: float64 [n, samples] in [0, 1), from which ids are drawn. Draw i of N falls into the i-th of N equal
    parts of the cumulative distribution: as unbiased as independent draws, with a variance that is never larger
    (Cochran, "Sampling Techniques", 5.6).
    """
    rows = np.zeros(len(logits), dtype=form.row)
    if form.top_k is None:
        assert uniform is not None
        softmax = Softmax(logits, form.temperatures[0], form.vocabulary)
        rows["ids"] = _drawn(softmax.probabilities, uniform)
        p = softmax.over_ids()
        rows["negative_entropy"] = (p.log.double() * p.probabilities).sum(-1).cpu().numpy()
        return rows
    wide = logits[:, : form.vocabulary].to(torch.promote_types(logits.dtype, torch.float32))
    wide = wide - wide.amax(-1, keepdim=True)
    ids = most_probable(wide, form.top_k).sort(-1).values  # in the order in which a step reads its own logits
    rows["ids"] = ids.cpu().numpy()
    rows["logits"] = wide.gather(1, ids).clamp_(min=float(np.finfo(np.float16).min)).cpu().numpy()
    others = wide.clone().scatter_(1, ids, -torch.inf)
    for i, temperature in enumerate(form.temperatures):
        tempered = (others / temperature).clamp_(min=LOWEST).scatter_(1, ids, -torch.inf)
        rows["rests"][:, i] = tempered.logsumexp(-1).cpu().numpy()
    return rows


def _drawn(probabilities: Tensor, uniform: np.ndarray) -> np.ndarray:
    """int64 [n, N]: ids, one from each N-th part of the cumulative distribution, rising."""
    count = uniform.shape[1]
    cumulative = probabilities.double().cumsum(-1)
    points = torch.from_numpy((np.arange(count) + uniform) / count).to(cumulative.device)
    # Rounding may put the last point at the end, beyond which no id lies: it belongs to the last one that can be drawn.
    points = torch.minimum(points * cumulative[:, -1:], torch.nextafter(cumulative[:, -1:], cumulative.new_zeros(1)))
    return torch.searchsorted(cumulative, points.contiguous(), right=True).cpu().numpy()
