"""A distillation that took no optimizer step, and was blamed on its curriculum."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit.session import Audit
from ontogeny.integrations.audit.stories._small import byte_windows, tiny_model
from ontogeny.integrations.audit.stories.story import Story, Tell, Telling

if TYPE_CHECKING:
    from torch import Tensor

ACCUMULATION = 4
BATCHES = 96
EVERY = 16
TEACHER_BATCHES = 50
TEMPERATURE = 2.0
FULL = {"lm": 0.3, "kd": 0.7, "hidden": 0.1}


@dataclass
class Distillation:
    """A loop as the post-mortem's; `mended` repairs what its author did not look at, and nothing else."""

    student: Any
    teacher: Any
    mended: bool
    audit: Audit | None = None
    questions: int = 0
    batches: int = 0
    updates: int = 0
    rows: list[tuple[str, ...]] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)

    def should_step(self) -> bool:
        """As it was, asking counts."""
        if self.mended:
            return self.batches % ACCUMULATION == 0
        self.questions += 1
        return self.questions % ACCUMULATION == 0

    def weights(self, progress: float | None) -> dict[str, float]:
        """The curriculum: `hidden` comes in the second half. Without a progress, everything counts in full."""
        if progress is None or progress >= 0.5:
            return FULL
        return FULL | {"hidden": 0.0}

    def loss(self, ids: "Tensor", progress: float | None) -> "tuple[Tensor, Tensor]":
        """The weighted sum, and the plain next-token NLL."""
        import torch
        from torch.nn import functional as F

        output = self.student(input_ids=ids, output_hidden_states=True)
        with torch.no_grad():
            taught = self.teacher(input_ids=ids, output_hidden_states=True)
        lm = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        here, there = (one.logits[:, :-1].div(TEMPERATURE).log_softmax(-1) for one in (output, taught))
        kd = F.kl_div(here, there, log_target=True, reduction="sum") * TEMPERATURE**2
        # As it was, `batchmean` divides by rows alone, and so is too large by the length of a row.
        kd = kd / (here.shape[0] * here.shape[1] if self.mended else here.shape[0])
        hidden = F.mse_loss(output.hidden_states[-1], taught.hidden_states[-1])
        terms, weights = {"lm": lm, "kd": kd, "hidden": hidden}, self.weights(progress)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        if self.audit is not None:
            self.audit.watch(terms=terms, weights=weights, total=total)
        return total, lm

    def evaluate(self) -> dict[str, float]:
        """As it was: all terms in full, whatever training minimises; and a perplexity of the whole, cut off."""
        import torch

        progress = self.batches / BATCHES if self.mended else None
        self.student.eval()
        with torch.no_grad():
            losses = [self.loss(ids, progress) for ids in byte_windows(4, batch=8, seed=1)]
        self.student.train()
        loss, nll = (float(torch.stack(part).mean()) for part in zip(*losses, strict=True))
        if self.mended:
            return {"loss": loss, "nll": nll, "perplexity": math.exp(nll)}
        return {"loss": loss, "perplexity": math.exp(min(loss, 20))}

    def train(self) -> Audit:
        """The loop; its audit knows what it is told and looks at every 10th update besides the first."""
        import torch

        optimizer = torch.optim.AdamW(self.student.parameters(), lr=3e-3)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: min(update / 5, 1.0))
        audit = self.audit = Audit(self.student, optimizer, first=20, every=5, quiet=True)
        audit.watch(accumulation=ACCUMULATION, teacher=self.teacher, evaluate=self.evaluate)
        self.student.train()
        with audit:
            for ids in byte_windows(BATCHES, batch=8, seed=0):
                self.batches += 1
                loss, _ = self.loss(ids, (self.batches - 1) / BATCHES)
                (loss / ACCUMULATION).backward()
                if self.should_step():
                    optimizer.step()
                    optimizer.zero_grad()
                    self.updates += 1
                if self.should_step() and self.updates:
                    scheduler.step()
                if self.batches % EVERY == 0:
                    self._log(float(loss.detach()), float(scheduler.get_last_lr()[0]))
        return audit

    def _log(self, loss: float, rate: float) -> None:
        found = self.evaluate()
        self.curve.append((self.batches, found["loss"]))
        self.rows.append(
            (str(self.batches), f"{loss:.4f}", f"{found['loss']:.4f}", f"{found['perplexity']:.2f}", f"{rate:.3e}")
        )


def _taught(tell: Tell) -> Any:
    """A teacher that has read a little."""
    import torch
    from torch.nn import functional as F

    teacher = tiny_model(width=48, seed=3)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=3e-3)
    for ids in byte_windows(TEACHER_BATCHES, batch=8, seed=2):
        logits = teacher(input_ids=ids).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    tell(f"the teacher has read {TEACHER_BATCHES} batches")
    return teacher.eval().requires_grad_(False)


def _telling(loop: Distillation, title: str, tell: Tell) -> Telling:
    audit = loop.train()
    tell(f"{title}: {loop.batches} batches, {loop.updates} optimizer steps")
    steps, values = zip(*loop.curve, strict=True)
    return Telling(
        title=title,
        columns=("batch", "train loss", "eval loss", "perplexity", "learning rate"),
        rows=tuple(loop.rows),
        series=(("eval loss", steps, values),),
        report=audit.report,
    )


def story(tell: Tell) -> Story:
    """Teach a small model twice, some seconds each."""
    teacher = _taught(tell)
    told: Iterator[Telling] = (
        _telling(Distillation(tiny_model(width=48, seed=5), teacher, mended), title, tell)
        for mended, title in ((False, "As it was"), (True, "Mended"))
    )
    return Story(
        name="optimizer_never_steps",
        title="The optimizer never stepped",
        about="A small model is to learn from another one: next token, the teacher's distribution, its hidden states. "
        f"Gradients of {ACCUMULATION} batches are added up before each step.",
        concluded=(
            "The evaluation's loss is the same to every digit because it weighs its terms otherwise than training.",
            "A high distillation loss is to be expected from a model that begins at random.",
            "A learning rate of 0.000e+00 is the warm-up.",
        ),
        was_so="should_step() counted each time it was asked, and was asked twice per batch: the first answer, which "
        "steps, saw odd counts only, and an even accumulation never divides those. Nothing was trained. The other "
        "weights in evaluation and the perplexity of e^20 were faults as well, and neither made the loss stand still.",
        as_it_was=next(told),
        mended=next(told),
    )
