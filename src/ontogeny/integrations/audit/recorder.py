"""Listens to a training loop through hooks, and never touches it: whatever goes wrong in here, the run goes on."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit import listening
from ontogeny.integrations.audit.listeners import Listeners, attach_all
from ontogeny.integrations.audit.reading import (
    arguments,
    fingerprints,
    fused_nll,
    fused_targets,
    gradients,
    has_dropout,
    log_normaliser,
    next_token_nll,
    numpy_of,
    relative_change,
    some_numbers,
    targets_of,
    token_ids,
)
from ontogeny.integrations.audit.recorder_averages import AverageRecorder
from ontogeny.integrations.audit.recorder_evaluation import USES, evaluate_at_another_size, evaluate_once
from ontogeny.integrations.audit.recorder_generation import PassRecorder, special_ids
from ontogeny.integrations.audit.recorder_gradients import GradientRecorder
from ontogeny.integrations.audit.recorder_terms import GRADIENT_CHECKS, TermsRecorder, plain_targets
from ontogeny.integrations.audit.recording import ForwardRecord, GradientTargets, Recording, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor

NORM_EVERY = 10
"""Optimizer steps from one look at the gradients alone to the next."""
MOST_TOKENS = 2_000_000
"""Tokens of the first steps that are kept in detail, and as many of later ones: some 100 MB each."""


def _harmless(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that cannot break the loop: its errors are noted, and it returns nothing."""

    @functools.wraps(method)
    def guarded(self: "Recorder", *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the audited run goes on whatever happens in here
            self.note(f"{method.__name__.strip('_')}: {type(error).__name__}: {error}")

    return guarded


class Recorder:
    """Writes a `Recording` of a model and an optimizer, from `start` to `stop`.

    In detail are looked at: the first `first` optimizer steps, and after that every `every`-th. Of the others only
    counts and learning rates are kept, and of every `NORM_EVERY`-th the norm of the gradients. A look adds to a step:
    one cross entropy over its logits in the forward pass, two reductions over the gradient at the logits, and one pass
    over the gradients; nothing that the loop computes is changed, and no random number is drawn.
    """

    def __init__(self, model: Any, optimizer: Any, *, first: int, every: int, skip: Collection[str] = ()) -> None:
        self.model = model
        self.optimizers = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
        self.heard = listening.language_model(model, listening.optimized(self.optimizers))
        self.first, self.every = first, every
        self.skip = frozenset(skip)
        """Checks that are left out, by id: what only they need is not done."""
        self.seen = Recording(dropout=has_dropout(model))
        self._handles: list[Any] = []
        self._start_bits: dict[str, int] = {}
        self._start_numbers: dict[str, Tensor] = {}
        self._frozen: frozenset[str] = frozenset()
        self._backwards_before = 0
        self._since_cleared = 0
        self._backward_pass: int | None = None
        self._head: listening.Head | None = None
        self._kept_tokens = 0
        self._evaluating = False
        self._terms = TermsRecorder(model, self.seen.terms, gradients=not self.skip >= GRADIENT_CHECKS)
        self._averages = AverageRecorder(self.seen.averages)
        self._gradients = GradientRecorder(self.note)
        self._passes = PassRecorder(model, self.seen.generation)
        self.paused = False
        """Set while something else than the loop runs the model: its passes are not the loop's."""
        self.listeners = Listeners(note=self.note)
        attach_all(self)

    def start(self) -> None:
        """Attach the hooks, and take the fingerprints of all tensors."""
        self._begin()
        self._attach()
        self.listeners.tell(self.listeners.at_start)

    def stop(self, *, failed: bool = False) -> None:
        """Detach the hooks, see which tensors have moved; evaluate and run again, unless the loop `failed`."""
        for handle in (*self._handles, *self.listeners.handles):
            handle.remove()
        self._handles = []
        self.listeners.handles.clear()
        self._terms.release()
        self._end()
        if not failed:
            self._evaluate()
            self.listeners.tell(self.listeners.at_end)

    @property
    def differentiating(self) -> bool:
        """Are the gradients that arrive now the audit's own?"""
        return self._terms.differentiating

    @_harmless
    def watch(self, named: Mapping[str, Any], *, ago: int = 0) -> None:
        """Keep what the user names, with the step at which it was named, or so many steps `ago`."""
        rest = self._terms.take(named, step=len(self.seen.steps), looking=self.looking, every=self.every)
        for name, value in rest.items():
            kept = self.listeners.kept(name, value)
            if name == "scheduler" and self.seen.schedule is None:
                self.seen.schedule = listening.schedule_of(value, steps=len(self.seen.steps) - ago)
            self.seen.watched.setdefault(name, []).append((len(self.seen.steps) - ago, kept))

    def note(self, mishap: str) -> None:
        """Keep an error of the audit's own, once."""
        if mishap not in self.seen.mishaps:
            self.seen.mishaps.append(mishap)

    @property
    def looking(self) -> bool:
        """Is the present step looked at in detail? The evaluation at the end always is."""
        if self._evaluating:
            return True
        step = len(self.seen.steps) if self.seen.hears_steps else self.seen.forwards_in_training
        if step < self.first:
            return self._kept_tokens < MOST_TOKENS
        return step % self.every == 0 and self._kept_tokens < 2 * MOST_TOKENS

    @_harmless
    def _attach(self) -> None:
        self._handles.append(self.heard.register_forward_pre_hook(listening.Hook(lambda *_: self._terms.release())))
        self._handles.append(self.heard.register_forward_hook(listening.Hook(self._after_forward), with_kwargs=True))
        head = listening.head_of(self.heard)
        if head is not None:
            self._handles.append(head.register_forward_hook(listening.Hook(self._after_head)))
        stepping = listening.stepping(self.optimizers[0])
        self.seen.hears_steps = stepping is not None
        self.seen.optimizer = listening.optimizer_name(self.optimizers[0])
        if stepping is not None:
            self._handles.append(stepping.register_step_post_hook(self._after_step))
            self._gradients.choose(self.model, stepping)

    @_harmless
    def _begin(self) -> None:
        self._start_bits = fingerprints(self.model)
        self._start_numbers = some_numbers(self.model)
        self._frozen = frozenset(name for name, p in self.model.named_parameters() if not p.requires_grad)

    @_harmless
    def _end(self) -> None:
        import torch

        now = fingerprints(self.model)
        groups = [group for one in self.optimizers for group in getattr(one, "param_groups", ())]
        optimized = {id(p) for group in groups for p in group["params"]}
        named = list(self.model.named_parameters())
        self.seen.tensors = Tensors(
            trainable=frozenset(name for name, p in named if p.requires_grad and name in now),
            optimized=frozenset(name for name, p in named if id(p) in optimized),
            moved=frozenset(name for name, bits in now.items() if bits != self._start_bits.get(name)),
            frozen_at_start=self._frozen,
            optimizers=len(self.optimizers),
            narrow=frozenset(name for name, p in named if p.element_size() < 4),
            change=relative_change(self._start_numbers, some_numbers(self.model)),
            strays=self._terms.leaves.outside(optimized, self.listeners.modules),
        )
        self.seen.special = special_ids(self.heard, self.seen.tokenizer)
        container = isinstance(self.heard, torch.nn.ModuleDict | torch.nn.ModuleList)  # nobody can call these
        if self.seen.steps and not self.seen.forwards_in_training and not container:
            self.note(
                f"{len(self.seen.steps)} optimizer steps, but no call of the model it was given "
                f"({type(self.heard).__name__}) in training: give it the module that the loop calls, as what "
                "torch.compile returned, or audit some steps without compiling"
            )

    @_harmless
    def _evaluate(self) -> None:
        evaluate, averaged = self.seen.latest("evaluate"), self.seen.latest("ema")
        if evaluate is None or self.skip >= USES:
            return
        self._evaluating = True
        looks = functools.partial(self.listeners.tell, self.listeners.on_evaluation)
        rows = next((len(one.input_ids) for one in self.seen.forwards if one.input_ids is not None), 4)
        self.seen.evaluated = evaluate_once(self.model, evaluate, averaged=averaged, rows=rows, looks=looks)
        evaluate_at_another_size(self.seen.evaluated, self.model, evaluate, averaged=averaged)

    @_harmless
    def _after_head(self, module: Any, args: tuple[Any, ...], output: "Tensor") -> None:
        if output.ndim == 3 and output.requires_grad and not self.paused:
            self._head = head = listening.Head(shape=tuple(output.shape), corner=output.detach()[0, 0].clone())
            output.register_hook(head.hear)

    @_harmless
    def _after_forward(self, module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        head, self._head = self._head, None
        logits, fused = listening.logits_of(output, module), getattr(output, "log_probs", None)
        carriers = [one for one in (logits, fused, getattr(output, "loss", None)) if listening.carries_gradient(one)]
        carriers = carriers or listening.gradient_carrier(output)
        if self.paused:
            return
        if not carriers:
            self._passes.see(arguments(module, args, kwargs), training=bool(module.training))
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        self._passes.see_training(ids, training=bool(module.training))
        self.seen.forwards_in_training += 1
        if listening.in_transform():
            return
        forward = ForwardRecord(step=len(self.seen.steps), training=bool(module.training))
        read: Callable[[Tensor], GradientTargets] | None = None
        if self.looking and (logits is not None or fused is not None):
            given = arguments(module, args, kwargs)
            read = self._describe(forward, given, output, logits)
            self.seen.forwards.append(forward)
            self._terms.remember(logits, plain_targets(given, logits))
            self.listeners.tell(self.listeners.on_forward, forward, given, logits)
        arrives = functools.partial(self._after_backward, forward, read)
        counts = functools.partial(self._after_backward, forward, None)
        at_head = logits is not None and head is not None and head.gives(logits)
        if head is not None and at_head:
            head.gradient_arrives = arrives
        for place, carrier in enumerate(carriers):
            carrier.register_hook(counts if at_head or place else arrives)

    def _describe(
        self, forward: ForwardRecord, given: Mapping[str, Any], output: Any, logits: "Tensor | None"
    ) -> "Callable[[Tensor], GradientTargets] | None":
        """Write down a forward pass; returns what reads targets off the gradient, where that is possible."""
        loss = getattr(output, "loss", None)
        forward.loss = None if loss is None or loss.ndim else float(loss.detach())
        decoder = bool(getattr(getattr(self.heard, "config", None), "is_encoder_decoder", False))
        labels, fused = given.get("labels"), getattr(output, "label_mask", None)
        shape = tuple(logits.shape[:2]) if logits is not None else tuple(getattr(labels, "shape", ()))
        ids = token_ids(given, shape, decoder=decoder)
        if ids is None:
            return None
        forward.input_ids = numpy_of(ids)
        self._kept_tokens += forward.input_ids.size
        for name in ("attention_mask", "labels", "position_ids"):
            value = given.get(name)
            if value is not None and getattr(value, "shape", None) == ids.shape and not decoder:
                setattr(forward, name, numpy_of(value))
        if logits is not None:
            forward.vocabulary = int(logits.shape[-1])
            normaliser = log_normaliser(logits.detach())
            forward.nll = next_token_nll(logits.detach(), ids, normaliser)
            return functools.partial(targets_of, logits.detach(), normaliser)
        if fused is None or labels is None:
            return None
        forward.nll = fused_nll(output.log_probs, fused)
        return functools.partial(fused_targets, labels, fused)

    @_harmless
    def _after_backward(
        self, forward: ForwardRecord, read: "Callable[[Tensor], GradientTargets] | None", gradient: "Tensor"
    ) -> None:
        if self._terms.differentiating:
            return
        self._terms.release()
        now, before = listening.backward_pass(), forward.targets
        if read is not None:
            forward.targets = read(gradient)
        if not forward.backward:
            forward.backward = True
            forward.backward_pass = now
            if now is None or now != self._backward_pass:
                forward.cleared = self._count_backward()
            self._backward_pass = now
            forward.accumulated = self._looks_at_gradients and self._gradients.accumulate()
            self.listeners.tell(self.listeners.on_backward)
        elif before is not None and self._comes_again(forward, before, now):
            self._count_backward()
            self._backward_pass = now

    def _comes_again(self, forward: ForwardRecord, before: GradientTargets, now: int | None) -> bool:
        """Does the same loss go backward once more, and add its gradients a second time?"""
        if now in (None, self._backward_pass) or forward.targets is before or not forward.accumulated:
            return False
        return before.equals(forward.targets) and self._gradients.accumulate()

    @property
    def _looks_at_gradients(self) -> bool:
        return self.looking and self.seen.hears_steps

    def _count_backward(self) -> bool:
        """Another pass has begun. Are the gradients known to be cleared?"""
        self.seen.backwards += 1
        cleared = self._looks_at_gradients and self._gradients.before_backward()
        self._since_cleared = 1 if cleared else self._since_cleared + 1
        return cleared

    @_harmless
    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        looking, number = self.looking, len(self.seen.steps)
        step = Step(
            number=number,
            backwards=self.seen.backwards - self._backwards_before,
            learning_rates=tuple(float(group["lr"]) for group in optimizer.param_groups),
            scheduled=listening.scheduler_steps(self.seen.latest("scheduler")),
            since_cleared=self._since_cleared if looking and self._gradients.probing else None,
        )
        self.seen.steps.append(step)  # before anything can go wrong: it is taken, whatever can be read of it
        self._backwards_before, self._since_cleared = self.seen.backwards, 0
        self._passes.forget()
        self._look_at(step, looking=looking)
        self.listeners.tell(self.listeners.on_step)

    @_harmless
    def _look_at(self, step: Step, *, looking: bool) -> None:
        if looking:
            self._averages.see(self.model, self.seen.latest("ema"), step.number)
            step.loss_scale = listening.loss_scale()
            step.rescaled, step.took_again = self._gradients.after_step()
        else:
            self._gradients.not_looked_at()
        if looking or step.number % NORM_EVERY == 0:
            step.grad_norm, step.without_gradient, step.negligible = gradients(self.model)
