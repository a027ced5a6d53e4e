"""How far a student agrees with a teacher."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.core.names import Name
from ontogeny.core.terms import CompanionPass
from ontogeny.looking.axes import dataset, probe_axis, probe_names, variable

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 256
"""Positions whose logits are compared at once."""


class Agreement(StreamMeasure):
    """Agreement of the model with a companion that reads the same tokens, at temperature 1, per probe set.

    Over all tokens but each passage's first: `top1`, how often both have the same first choice; `top_k`, the mean
    share of the teacher's k most probable ids that are among the student's; `kl` = KL(teacher || student) in nats per
    token, over the full vocabulary; `nll` of the student and `teacher_nll`, in nats per token. A student can agree more
    while it predicts no better, so both stand side by side.
    """

    teacher: Name
    """The companion; a loss term reads it, too."""
    k: int = Field(default=10, ge=1)
    """How many ids `top_k` compares."""

    needs: ClassVar[frozenset[Need]] = frozenset({"logits"})
    cost: ClassVar[str] = (
        "one forward pass of the teacher over the probe sets; logits of both, and a search of the k most probable"
    )

    def look(self, context: Context) -> Look:
        """Start with nothing seen."""
        return _AgreementLook(self, probe_names(context, self.probes))


class _AgreementLook:
    NUMBERS: ClassVar[tuple[str, ...]] = ("top1", "top_k", "kl", "nll", "teacher_nll")

    def __init__(self, measure: Agreement, probes: list[str]) -> None:
        self.measure = measure
        self.sums = {name: np.zeros(len(self.NUMBERS)) for name in probes}
        self.tokens = dict.fromkeys(probes, 0)

    def see(self, batch: ForwardBatch) -> None:
        from ontogeny.objectives.tiled_divergence import tempered

        theirs = self._teacher(batch)
        targets = batch.attention_mask[:, 1:].bool()
        rows, columns = targets.nonzero(as_tuple=True)
        width = batch.input_ids.shape[1]
        vocabulary = min(batch.logits.shape[-1], theirs.vocabulary)
        own = batch.logits.flatten(0, 1)
        for part in (rows * width + columns).split(ROWS):
            ids = batch.input_ids.flatten()[part + 1]
            student, teacher = (
                tempered(logits.double(), 1.0, vocabulary)
                for logits in (own.index_select(0, part), theirs.logits_at(part))
            )
            self.sums[batch.probe] += self._compared(student, teacher, ids)
        self.tokens[batch.probe] += len(rows)

    def _teacher(self, batch: ForwardBatch) -> CompanionPass:
        """Raises OntogenyError if there is no such companion, or if it reads other tokens."""
        import torch

        name = self.measure.teacher
        if name not in batch.companions:
            raise OntogenyError(
                f"'{self.measure.group}': unknown companion '{name}': {closest(name, batch.companions)}; a companion "
                "is named in the recipe, and a loss term reads it"
            )
        theirs = batch.companions[name]
        if not torch.equal(theirs.input_ids, batch.input_ids):
            raise OntogenyError(
                f"'{self.measure.group}' compares predictions of the same tokens, and the companion '{name}' has a "
                "tokenizer of its own: leave the measure out"
            )
        return theirs

    def _compared(self, student: "Tensor", teacher: "Tensor", ids: "Tensor") -> np.ndarray:
        """Sums over positions of what is in `NUMBERS`, from log probabilities [n, V]."""
        from ontogeny.objectives.divergence import kl

        k = min(self.measure.k, student.shape[1])
        kept = student.new_zeros(student.shape).scatter_(1, student.topk(k).indices, 1.0)
        values = [
            (student.argmax(-1) == teacher.argmax(-1)).sum(),
            kept.gather(1, teacher.topk(k).indices).sum() / k,
            kl(teacher, student).sum(),
            -student.gather(1, ids[:, None]).sum(),
            -teacher.gather(1, ids[:, None]).sum(),
        ]
        return np.array([float(value) for value in values])

    def result(self) -> Observation:
        """Means over tokens, per probe set; NaN for a set without tokens."""
        counts = np.array([[count] for count in self.tokens.values()], dtype=np.float64)
        sums = np.array(list(self.sums.values())).reshape(len(counts), len(self.NUMBERS))
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        about = (
            ("1", "share of tokens with the teacher's first choice"),
            ("1", f"share of the teacher's {self.measure.k} most probable ids among the student's"),
            ("nats", "KL(teacher || student) per token at temperature 1"),
            ("nats", "the student's negative log-likelihood per token"),
            ("nats", "the teacher's negative log-likelihood per token"),
        )
        variables = {
            name: variable("probe", means[:, i], *described)
            for i, (name, described) in enumerate(zip(self.NUMBERS, about, strict=True))
        }
        return Observation(arrays=dataset(variables, probe_axis(list(self.tokens))))
