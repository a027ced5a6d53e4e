"""Listens to a teacher: its mode, its input, its gradients, and its logits beside the student's."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.listening import Hook, logits_of
from ontogeny.integrations.audit.observed import LogitPair, TeacherPass
from ontogeny.integrations.audit.reading import arguments, drops_out, fingerprints, numpy_of
from ontogeny.integrations.audit.recording import ForwardRecord
from ontogeny.looking.guard import untouched

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.integrations.audit.recorder import Recorder

POSITIONS = 256
"""Positions of a micro-batch at which logits are compared."""
KEPT = 16
"""Of them, those whose logits are kept, and"""
MOST_PAIRS = 64
"""micro-batches for which that is done."""


def attach(recorder: "Recorder") -> None:
    """Listen to the teacher from where it is named."""
    listener = TeacherListener(recorder)
    listeners = recorder.listeners
    listeners.on_watch |= {
        "teacher": listener.teacher,
        "teacher_logits": listener.target,
        "kd": listener.value,
        "temperature": _number,
    }
    listeners.on_forward.append(listener.student)
    listeners.on_step.append(listener.close)
    listeners.at_end.append(listener.end)


class TeacherListener:
    """Holds the logits of one micro-batch until it is over, at some positions; keeps what a comparison says."""

    def __init__(self, recorder: "Recorder") -> None:
        self.recorder = recorder
        self.module: Any = None
        self.start: dict[str, int] = {}
        self.forward: ForwardRecord | None = None
        self.logits: dict[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.trainable = False

    def teacher(self, module: Any) -> str:
        """Hook the teacher; the recording gets its class."""
        seen = self.recorder.seen.distillation
        if module in (self.recorder.model, self.recorder.heard):
            seen.same_module = True
        elif module is not self.module:
            self.module, self.start = module, fingerprints(module)
            self.recorder.listeners.modules.append(module)
            handle = module.register_forward_hook(Hook(self._harmless(self._teacher_ran)), with_kwargs=True)
            self.recorder.listeners.handles.append(handle)
        return type(module).__name__

    def value(self, value: Any) -> float:
        """The term's value at looked-at steps; NaN at others, so as not to wait for a GPU."""
        return _number(value) if self.recorder.looking else float("nan")

    def target(self, value: "Tensor") -> tuple[int, ...]:
        """What the student's logits are compared with, [B, T, V]; the recording gets its shape."""
        if self.recorder.looking and value.ndim == 3:
            self._hold("target", value)
            self.trainable = bool(value.requires_grad)
        return tuple(value.shape)

    def student(self, forward: ForwardRecord, given: Mapping[str, Any], logits: "Tensor | None") -> None:
        """The student ran: a micro-batch begins, or its second half."""
        named = self.module is not None or bool(self.recorder.seen.watched.get("teacher_logits")) or self.logits
        if logits is None or not named:
            return
        if "student" in self.logits:
            self.close()
        self.forward = forward
        self._hold("student", logits)

    def close(self) -> None:
        """A micro-batch is over: compare, and let go."""
        seen, held, forward = self.recorder.seen, self.logits, self.forward
        self.logits, self.forward = {}, None
        if forward is None or "student" not in held or len(held) < 2:
            return
        if len(seen.distillation.pairs) >= MOST_PAIRS:
            return
        batch, length = self.shapes["student"][:2]
        rows = {
            name: held[name]
            for name in ("student", "teacher", "target")
            if name in held and self.shapes[name][:2] == (batch, length)
        }
        valid, cut = self._valid(forward), "target" in held and self.shapes["target"][:2] == (batch, length - 1)
        if cut:  # what is compared is [:, :-1] or [:, 1:] of both
            inside = [at for at, place in enumerate(_spread(batch * length)) if (place + 1) % length]
            rows = {name: one[inside] for name, one in rows.items()} | {"target": held["target cut"]}
            valid = {name: mask[inside] for name, mask in valid.items()}
        if len(rows) < 2:
            return
        few = {name: _few(one) for name, one in rows.items()}
        ahead = cut and "teacher" in few and _is_rather(few["target"], held["teacher after"], few["teacher"])
        if ahead:
            few["teacher"] = held["teacher after"]
        against, references = rows.get("target", rows.get("teacher")), {}
        if against is not None and against.shape == rows["student"].shape and not ahead:
            temperature = float(seen.latest("temperature") or 1.0)
            references = _references(rows["student"], against, valid, temperature)
        kept = {name: one.float().cpu().numpy() for name, one in few.items()}
        seen.distillation.pairs.append(
            LogitPair(
                step=forward.step,
                length=length,
                student=kept["student"],
                teacher=kept.get("teacher"),
                target=kept.get("target"),
                target_trainable=self.trainable,
                references=references,
                ahead=ahead,
                ends_pulled=_ends_pulled(forward),
            )
        )

    def end(self) -> None:
        """Has the teacher moved; what does the divergence do where student and teacher agree?"""
        seen = self.recorder.seen.distillation
        if self.module is not None:
            seen.moved = fingerprints(self.module) != self.start
            seen.is_average = self.module is self.recorder.seen.latest("ema")
        function = self.recorder.seen.latest("kd_function")
        if function is not None and "kd_not_least_at_equality" not in self.recorder.skip:
            with untouched(self.recorder.model):
                seen.at_equality = at_equality(function)

    def _teacher_ran(self, module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        logits = logits_of(output, module)
        if logits is None or not self.recorder.looking:
            return
        seen = self.recorder.seen
        ids = arguments(module, args, kwargs).get("input_ids")
        seen.distillation.passes.append(
            TeacherPass(
                step=len(seen.steps),
                dropout=_differs_in_training(module),
                width=int(logits.shape[-1]),
                input_ids=None if ids is None else numpy_of(ids),
            )
        )
        if logits.requires_grad:
            logits.register_hook(self._harmless(self._gradient_arrived))
        if "teacher" in self.logits and "student" in self.logits:
            self.close()
        self._hold("teacher", logits)

    def _gradient_arrived(self, gradient: "Tensor") -> None:
        if not self.recorder.differentiating and bool((gradient != 0).any()):
            self.recorder.seen.distillation.gradients += 1

    def _hold(self, name: str, logits: "Tensor") -> None:
        """At positions evenly spread over the batch, the same for every tensor of that shape."""
        flat = logits.detach().flatten(0, 1)
        batch, length = logits.shape[:2]
        self.shapes[name] = tuple(logits.shape)
        self.logits[name] = flat[_spread(batch * length)]
        if name == "target":  # in case it is one place shorter than the student's
            places = [place for place in _spread(batch * (length + 1)) if (place + 1) % (length + 1)]
            self.logits["target cut"] = flat[[place - place // (length + 1) for place in places]]
        if name == "teacher":
            places = [place for place in _spread(batch * length) if (place + 1) % length]
            self.logits["teacher after"] = flat[[place + 1 for place in _few(places)]]

    def _valid(self, forward: ForwardRecord) -> dict[str, np.ndarray]:
        """Which of the held positions predict a token that counts: by labels, by mask; and all of them."""
        batch, length = self.shapes["student"][:2]
        masks = {"all": np.ones((batch, length), dtype=bool)}
        marks = {"mask": forward.attention_mask, "labels": None if forward.labels is None else forward.labels != -100}
        for name, mark in marks.items():
            if mark is not None and mark.shape == (batch, length):
                masks[name] = np.pad(mark[:, 1:] > 0, ((0, 0), (0, 1)))
        at = _spread(batch * length)
        return {name: mask.reshape(-1)[at] for name, mask in masks.items()}

    def _harmless(self, listen: Callable[..., None]) -> Callable[..., None]:
        def harmless(*args: Any) -> None:
            self.recorder.listeners.tell([listen], *args)

        return harmless


def _spread(count: int) -> list[int]:
    spread: list[int] = np.unique(np.linspace(0, count - 1, min(POSITIONS, count), dtype=int)).tolist()
    return spread


def _few(rows: Any) -> Any:
    return rows[:: max(len(rows) // KEPT, 1)][:KEPT]


def _is_rather(rows: "Tensor", one: "Tensor", other: "Tensor") -> bool:
    """Do rows of logits go with the one rather than with the other? By their cosine, each row centred."""
    from torch.nn import functional as F

    width = min(rows.shape[-1], one.shape[-1])
    centred = [some[:, :width].float().nan_to_num(neginf=0.0) for some in (rows, one, other)]
    mine, first, second = (some - some.mean(dim=-1, keepdim=True) for some in centred)
    return float(F.cosine_similarity(mine, first).mean()) > float(F.cosine_similarity(mine, second).mean())


def _ends_pulled(forward: ForwardRecord) -> bool | None:
    """Does a gradient arrive at the last place of rows that reach it? None where none does, or it is not known."""
    if forward.targets is None or forward.input_ids is None:
        return None
    reach = (
        np.ones(len(forward.input_ids), bool) if forward.attention_mask is None else forward.attention_mask[:, -1] > 0
    )
    return bool((forward.targets.ids[reach, -1] >= 0).any()) if reach.any() else None


def _references(
    student: "Tensor", teacher: "Tensor", valid: Mapping[str, np.ndarray], temperature: float
) -> dict[str, float]:
    """Means of divergences of student and teacher over valid positions, x temperature^2.

    These are KL(teacher || student), its reverse, their Jensen-Shannon divergence (of equal weights, as GKD has it) and
    the soft cross entropy. Rows of logits [n, V]; without the factor they stand under names that end in `unscaled`.
    """
    import torch

    with torch.no_grad():
        q, p = ((rows.float() / temperature).log_softmax(dim=-1) for rows in (student, teacher))
        middle = torch.logaddexp(p, q) - np.log(2)
        forward, reverse, of_p, of_q = (
            torch.where(a.exp() > 0, a.exp() * (a - b), 0.0).sum(dim=-1)
            for a, b in ((p, q), (q, p), (p, middle), (q, middle))
        )
        entropy = torch.where(p.exp() > 0, -p.exp() * p, 0.0).sum(dim=-1)
        values = {
            "kl": forward,
            "reverse kl": reverse,
            "jensen-shannon": (of_p + of_q) / 2,
            "soft cross entropy": forward + entropy,
        }
    found = {}
    for name, value in values.items():
        of_positions = value.double().cpu().numpy()
        for over, mask in valid.items():
            if mask.any():
                mean = float(of_positions[mask].mean())
                found[f"{name} over {over}"] = mean * temperature**2
                found[f"{name} over {over}, unscaled"] = mean
    return found


def at_equality(function: Callable[[Any, Any], Any]) -> float:
    """Norm of the gradient of `function(student, teacher)` by student at student = teacher / that elsewhere.

    Logits [2, 8, 32] are drawn from N(0, 1) with a generator of their own. A divergence is least where both agree.
    """
    import torch

    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 8, 32, generator=draw) for _ in range(2))
    norms = []
    with torch.enable_grad():
        for first in (teacher, student):
            varied = first.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(function(varied, teacher.clone()), varied)
            norms.append(float(gradient.norm()))
    return norms[0] / norms[1] if norms[1] else float("nan")


def _differs_in_training(model: Any) -> bool:
    """Is anything in train mode that computes something else in evaluation?"""
    training = [module for module in model.modules() if module.training]
    return any(drops_out(module) or "BatchNorm" in type(module).__name__ for module in training)


def _number(value: Any) -> float:
    return float(value.detach()) if hasattr(value, "detach") else float(value)
