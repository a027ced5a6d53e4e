"""A small distillation, written as people write it, with one switch for each way of getting it wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.loops import make_model, rows, shifted_loss

TEMPERATURE = 2.0
LENGTH = 20


def mean_kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """What is right: KL of each position, mean over positions, times temperature squared."""
    log_q, p = (student / temperature).log_softmax(-1), (teacher / temperature).softmax(-1)
    return F.kl_div(log_q.flatten(0, 1), p.flatten(0, 1), reduction="batchmean") * temperature**2


class Both(torch.nn.Module):
    """Student, teacher and a projection in one module, so that `train()` reaches all of them."""

    def __init__(self, student: Any, teacher: Any) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.projection = torch.nn.Linear(16, 60)


def make_teacher() -> Any:
    """The student's size, other weights, and sharper logits than an untrained model has."""
    teacher = make_model(seed=1)
    with torch.no_grad():
        teacher.get_output_embeddings().weight.mul_(20)
    return teacher.requires_grad_(False).eval()


@dataclass(kw_only=True)
class Distilling:
    """Some steps of a distillation. Every field is a part that a fault replaces; as it stands, it is right."""

    student: Any = field(default_factory=make_model)
    teacher: Any = field(default_factory=make_teacher)
    kd: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = mean_kl
    target: Callable[[Any, torch.Tensor], torch.Tensor] | None = None
    """What the student is compared with, of the module of both and the teacher's logits; those if None."""
    to_teacher: Callable[[torch.Tensor], torch.Tensor] = lambda ids: ids
    """Token ids of the student -> those that the teacher is given."""
    together: bool = False
    """Is the teacher inside of what is put in train mode?"""
    whole: bool = False
    """Is the module of both audited, and not the student alone?"""
    features: bool = False
    """Is there a term that compares the student's projected states with the teacher's?"""
    forgotten: bool = False
    """Is the projection missing in the optimizer?"""
    no_grad: bool = True
    cut: tuple[slice, slice] = (slice(None), slice(None))
    """Places of the student's and of the teacher's logits that are compared."""
    averaged: bool = False
    """Does the teacher follow the student, as a mean teacher does?"""
    steps: int = 12

    def run(self, *, watch_logits: bool = True, tokenizer: Any = None, watcher: Any = Audit, **watched: Any) -> Any:
        """Train under the audit, or something in its place."""
        torch.manual_seed(7)
        student = self.student
        both = Both(student, self.teacher)
        learning = torch.nn.ModuleList(
            [student, both.projection] if self.features and not self.forgotten else [student]
        )
        optimizer = torch.optim.AdamW(learning.parameters(), lr=1e-3)
        with watcher(both if self.whole else student, optimizer, tokenizer=tokenizer, quiet=True) as audit:
            watched = ({"ema": self.teacher} if self.averaged else {}) | watched
            audit.watch(teacher=self.teacher, temperature=TEMPERATURE, **watched)
            for number in range(self.steps):
                (both if self.together else student).train()
                batch = rows(4, number, length=LENGTH)
                ids, mask = batch["input_ids"], batch["attention_mask"]
                with torch.set_grad_enabled(not self.no_grad):
                    logits = self.teacher(self.to_teacher(ids), mask).logits
                target = logits if self.target is None else self.target(both, logits)
                said, target = student(ids, mask).logits, target[:, self.cut[1]]
                kd = self.kd(said[:, self.cut[0]], target)
                if watch_logits:
                    audit.watch(teacher_logits=target)
                audit.watch(kd=kd)
                loss = shifted_loss(said, batch["labels"]) + kd
                if self.features:
                    loss = loss + (both.projection(said[..., :16]) - logits.detach()).square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if self.averaged:
                    with torch.no_grad():
                        for average, p in zip(self.teacher.parameters(), student.parameters(), strict=True):
                            average.lerp_(p, 0.1)
        return audit
