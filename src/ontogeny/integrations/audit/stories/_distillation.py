"""The loop of a distillation, with a switch for each way in which the one of the post-mortem was wrong."""

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ontogeny.integrations.audit.session import Audit
from ontogeny.integrations.audit.stories._small import VOCABULARY, byte_windows, tiny_model
from ontogeny.integrations.audit.stories.story import Tell, Telling

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

ACCUMULATION = 4
TEMPERATURE = 2.0
STUDENT_WIDTH, TEACHER_WIDTH = 32, 48
TEACHER_TOKENS = 128
"""Ids of a teacher of fewer tokens: the text is ASCII nearly throughout, so that it lacks next to nothing."""
DECAY = 0.9999
FULL = {"lm": 0.3, "kd": 0.7, "hidden": 1.0}
COLUMNS = ("batch", "train loss", "eval loss", "perplexity", "learning rate", "lm", "kd", "hidden")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way of getting it wrong."""

    name: str
    did: str
    """What the code did, in a line."""
    check: str
    """The check of the audit that names it, by id."""


FAULTS = tuple(
    Fault(name=name, did=did, check=check)
    for name, did, check in (
        (
            "asking_counts",
            "should_step() counts each time it is asked, and is asked twice a batch",
            "no_optimizer_step",
        ),
        ("kd_by_rows", "KL divided by rows (batchmean over three axes), not by tokens", "kd_out_of_scale"),
        ("perplexity_of_all", "perplexity = exp(min(composite loss, 20))", "perplexity_of_nll"),
        ("evaluated_in_full", "evaluation without a step: every term at its full weight", "evaluation_objective"),
        ("target_projected", "KD towards a trainable projection, not the teacher's logits", "target_not_the_teachers"),
        ("labels_unshifted", "the student predicts the token that it is given", "label_shift"),
        ("zeros_for_missing", "ids that the teacher lacks get a logit of 0", "mass_on_missing_tokens"),
        ("teacher_drops_out", "train() reaches the teacher, which drops out", "teacher_in_train_mode"),
        ("projector_forgotten", "the projector is in no optimizer", "gradients_outside_the_optimizer"),
        ("average_evaluated", f"an average with decay {DECAY} is evaluated from the start", "average_lags"),
    )
)


def fewer_tokens(teacher: "Module") -> "Module":
    """The teacher with logits [batch, time, TEACHER_TOKENS]."""
    import torch

    class Fewer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = teacher

        def forward(self, **given: object) -> object:
            output = self.whole(**given)
            output.logits = output.logits[..., :TEACHER_TOKENS]
            return output

    return Fewer()


@dataclass(kw_only=True)
class Distillation:
    """One training. Faults that are not named in `faults` are not there; without any, the loop is right."""

    teacher: "Module"
    faults: frozenset[str] = frozenset()
    batches: int
    every: int
    """Batches between two lines of the log."""
    seen: int = 0
    asked: int = 0
    updates: int = 0
    rows: list[tuple[str, ...]] = field(default_factory=list)
    numbers: list[dict[str, float]] = field(default_factory=list)
    """Of each line of the log: the evaluation's loss and terms, and `true_nll`, the student's next-token NLL."""

    def __post_init__(self) -> None:
        import torch

        self.student: Module = tiny_model(width=STUDENT_WIDTH, seed=5)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.teacher = copy.deepcopy(self.teacher)
        if "zeros_for_missing" in self.faults:
            self.teacher = fewer_tokens(self.teacher).eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(6)
            self.projector = torch.nn.Linear(STUDENT_WIDTH, TEACHER_WIDTH)
            self.target_head = torch.nn.Linear(TEACHER_WIDTH, VOCABULARY)
            torch.nn.init.normal_(self.target_head.weight, std=TEACHER_WIDTH**-0.5 * 2)  # logits spread by about 2
        self.optimizer = self._optimizer()
        self.audit = Audit(self.student, self.optimizer, first=20, every=5, quiet=True)

    def _optimizer(self) -> "Optimizer":
        import torch

        learning = list(self.student.parameters())
        if "projector_forgotten" not in self.faults:
            learning += self.projector.parameters()
        if "target_projected" in self.faults:
            learning += self.target_head.parameters()
        return torch.optim.AdamW(learning, lr=3e-3)

    def should_step(self) -> bool:
        """Is the gradient of `ACCUMULATION` batches together? As it was, asking counts."""
        if "asking_counts" not in self.faults:
            return self.seen % ACCUMULATION == 0
        self.asked += 1
        return self.asked % ACCUMULATION == 0

    def weights(self, progress: float | None) -> dict[str, float]:
        """The curriculum: `hidden` comes in the second half. Without a progress, everything counts in full."""
        if progress is None or progress >= 0.5:
            return FULL
        return FULL | {"hidden": 0.0}

    def loss(self, ids: "Tensor", progress: float | None, *, model: "Module") -> "tuple[Tensor, dict[str, Tensor]]":
        """The weighted sum, and its terms."""
        import torch
        from torch.nn import functional as F

        output = model(input_ids=ids, output_hidden_states=True)
        with torch.no_grad():
            taught = self.teacher(input_ids=ids, output_hidden_states=True)
        if "labels_unshifted" in self.faults:
            lm = F.cross_entropy(output.logits.flatten(0, 1), ids.flatten())
        else:
            lm = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        target = self._target(taught.logits, taught.hidden_states[-1])
        kd = self._kd(output.logits, target)
        hidden = F.mse_loss(self.projector(output.hidden_states[-1]), taught.hidden_states[-1])
        terms, weights = {"lm": lm, "kd": kd, "hidden": hidden}, self.weights(progress)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        self.audit.watch(terms=terms, weights=weights, total=total)
        if torch.is_grad_enabled():
            self.audit.watch(teacher_logits=target, kd=kd)
        return total, terms

    def _target(self, logits: "Tensor", hidden: "Tensor") -> "Tensor":
        from torch.nn import functional as F

        if "target_projected" in self.faults:
            projected: Tensor = self.target_head(hidden)
            return projected
        return F.pad(logits, (0, VOCABULARY - logits.shape[-1]), value=0.0)  # adds nothing where the teacher has all

    def _kd(self, logits: "Tensor", target: "Tensor") -> "Tensor":
        from torch.nn import functional as F

        here, there = (side[:, :-1].div(TEMPERATURE).log_softmax(-1) for side in (logits, target))
        divergence = F.kl_div(here, there, log_target=True, reduction="sum") * TEMPERATURE**2
        return divergence / (here.shape[0] if "kd_by_rows" in self.faults else here.shape[:2].numel())

    def evaluate(self) -> dict[str, float]:
        """What the loop's author looks at: the loss, its terms, and a perplexity."""
        import torch

        progress = None if "evaluated_in_full" in self.faults else (self.seen - 1) / self.batches
        model = self.average if "average_evaluated" in self.faults else self.student
        training = model.training
        model.eval()
        self.teacher.eval()
        with torch.no_grad():
            losses = [self.loss(ids, progress, model=model) for ids in byte_windows(4, batch=8, seed=1)]
        model.train(training)
        self.teacher.train(training and "teacher_drops_out" in self.faults)
        terms = {name: sum(float(parts[name]) for _, parts in losses) / len(losses) for name in FULL}
        loss = sum(float(total) for total, _ in losses) / len(losses)
        whole = "perplexity_of_all" in self.faults
        return {"loss": loss, **terms, "perplexity": math.exp(min(loss, 20) if whole else terms["lm"])}

    def true_nll(self) -> float:
        """Next-token NLL of the student, nats per token, on the evaluation's text, whatever the loop's faults are."""
        import torch
        from torch.nn import functional as F

        self.student.eval()
        with torch.no_grad():
            rows = torch.cat(list(byte_windows(4, batch=8, seed=1)))
            logits = self.student(input_ids=rows).logits[:, :-1]
        self.student.train()
        return float(F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()))

    def train(self) -> None:
        """The loop; the audit is told what its author knows."""
        import torch

        scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda update: min(update / 5, 1.0))
        self.audit.watch(accumulation=ACCUMULATION, teacher=self.teacher, temperature=TEMPERATURE)
        self.audit.watch(evaluate=self.evaluate)
        if "average_evaluated" in self.faults:
            self.audit.watch(ema=self.average)
        self.student.train()
        self.teacher.train("teacher_drops_out" in self.faults)
        with self.audit, torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for ids in byte_windows(self.batches, batch=8, seed=0):
                self.seen += 1
                loss, _ = self.loss(ids, (self.seen - 1) / self.batches, model=self.student)
                (loss / ACCUMULATION).backward()
                if self.should_step():
                    self._update()
                if self.should_step() and self.updates:
                    scheduler.step()
                if self.seen % self.every == 0:
                    self._log(float(loss.detach()), float(scheduler.get_last_lr()[0]))

    def _update(self) -> None:
        import torch

        self.optimizer.step()
        self.optimizer.zero_grad()
        self.updates += 1
        with torch.no_grad():
            for average, own in zip(self.average.parameters(), self.student.parameters(), strict=True):
                average.lerp_(own, 1 - DECAY)

    def _log(self, loss: float, rate: float) -> None:
        with self.audit.paused():
            true_nll = self.true_nll()
        values = self.evaluate()
        self.numbers.append({"train_loss": loss, "rate": rate, "true_nll": true_nll, **values})
        shown = (f"{loss:.4f}", f"{values['loss']:.4f}", f"{values['perplexity']:.2f}", f"{rate:.3e}")
        self.rows.append((str(self.seen), *shown, *(f"{values[name]:.4f}" for name in FULL)))


def taught(batches: int, tell: Tell) -> "Module":
    """A teacher that has read a little."""
    from torch.nn import functional as F
    from torch.optim import AdamW

    teacher: Module = tiny_model(width=TEACHER_WIDTH, seed=3, dropout=0.1).eval()
    optimizer = AdamW(teacher.parameters(), lr=3e-3)
    for ids in byte_windows(batches, batch=8, seed=2):
        logits = teacher(input_ids=ids).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    tell(f"the teacher has read {batches} batches")
    return teacher.requires_grad_(False)


def telling(loop: Distillation, title: str, tell: Tell) -> Telling:
    """Train, and tell what the log showed and what the audit says."""
    loop.train()
    tell(f"{title}: {loop.seen} batches, {loop.updates} optimizer steps")
    steps = tuple(float(row[0]) for row in loop.rows)
    return Telling(
        title=title,
        columns=COLUMNS,
        rows=tuple(loop.rows),
        series=(("eval loss", steps, tuple(line["loss"] for line in loop.numbers)),),
        report=loop.audit.report,
    )
