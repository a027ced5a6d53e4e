"""`ontogeny.audit`: a few steps of any PyTorch loop, watched, and what all checks say of them."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.recorder import Recorder
from ontogeny.integrations.audit.report import Report, judge
from ontogeny.integrations.audit.text import terminal


class Audit:
    """Watches a loop between entering and leaving; `report` says what it found, during the loop or afterwards.

    `optimizer`: the one whose steps are counted, or a list of several with that one first.
    `first`: optimizer steps that are looked at in detail, then every `every`-th. `skip`: checks to leave out, by id.
    What happens inside the audit never reaches the loop.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        *,
        tokenizer: Any = None,
        first: int = 20,
        every: int = 500,
        skip: Iterable[str] = (),
        quiet: bool = False,
    ) -> None:
        _fail_early(model, optimizer)
        known = {one.id: one for one in all_checks()}
        left_out = frozenset(skip)
        for name in left_out:
            if name not in known:
                raise OntogenyError(f"audit: no check is called '{name}': {closest(name, known)}")
        self.checks = [one for name, one in known.items() if name not in left_out]
        self.quiet = quiet
        self._recorder = Recorder(model, optimizer, first=first, every=every, skip=left_out)
        self._recorder.seen.tokenizer = tokenizer

    def watch(self, **named: Any) -> Self:
        """Name what the audit may look at besides: see `WATCHED`. Raises OntogenyError for another name."""
        for name in named:
            if name not in WATCHED:
                raise OntogenyError(f"audit.watch({name}=…): {closest(name, WATCHED)}; it knows {', '.join(WATCHED)}")
        self._recorder.watch(named)
        return self

    def watch_step_before(self, **named: Any) -> Self:
        """The same for what belongs to the optimizer step that was just taken, as a log row written after it does."""
        self._recorder.watch(named, ago=1)
        return self

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Look away while something else than the loop runs the model with gradients."""
        self._recorder.paused = True
        try:
            yield
        finally:
            self._recorder.paused = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop(failed=bool(failure) and failure[0] is not None)

    def start(self) -> None:
        """Begin to watch, where a `with` block cannot: before the first forward pass of training."""
        self._recorder.start()

    def stop(self, *, failed: bool = False) -> None:
        """End: detach from model and optimizer, and say what was found unless `quiet`. `failed`: the loop broke off."""
        self._recorder.stop(failed=failed)
        if not self.quiet:
            sys.stderr.write(terminal(self.report, more="audit.explain()") + "\n")

    def explain(self) -> str:
        """The whole report as text: numbers and thresholds of what was found, and what each silent check needs."""
        return terminal(self.report, verbose=True)

    @property
    def report(self) -> Report:
        """What all checks say of what was seen so far."""
        return judge(self.checks, self._recorder.seen)


def _fail_early(model: Any, optimizer: Any) -> None:
    """Raise OntogenyError for what cannot be audited, with what to write in its place."""
    import torch

    if not isinstance(model, torch.nn.Module):
        raise OntogenyError(
            f"audit: the model is a {type(model).__name__}, no torch.nn.Module: give the module that "
            "is trained; several together are torch.nn.ModuleDict({'name': module})"
        )
    for one in optimizer if isinstance(optimizer, list | tuple) else [optimizer]:
        if not hasattr(one, "param_groups") and not hasattr(one, "step"):
            raise OntogenyError(
                f"audit: the optimizer is {one!r:.60}, which cannot step: give the "
                "torch.optim.Optimizer that is stepped, or a list of several"
            )


WATCHED = {
    "terms": "name -> value of each loss term, before weighting; as tensors, before `backward`",
    "weights": "name -> weight of each term",
    "total": "the sum of weight x term, in the same call as the terms or after it",
    "teacher": "the teacher's model",
    "evaluate": "a function that evaluates as the loop does, its eval() included, and returns numbers by name; without "
    "arguments, or with a `batch_size`, at two values of which it is called",
    "prompts": "prompts that generation starts from: texts or token ids",
    "references": "what generated text is compared with: texts or token ids",
    "generated": "what was generated, without the prompts: texts or token ids",
    "generated_texts": "the texts that were made of the generated ids",
    "ids": "ids of the examples of the present batch",
    "examples": "how many examples there are to train on (on this process)",
    "next_batch_after": "a function: optimizer steps -> ids that a training resumed after so many would see next",
    "prompt_lengths": "tokens of each row of the present batch that are prompt",
    "embeddings": "vectors that belong to the examples of the present batch",
    "texts": "texts of the examples of the present batch",
    "encode": "a function: texts -> the vectors that were made of them",
    "train_texts": "texts that are trained on",
    "validation_texts": "texts that are evaluated on",
    "teacher_logits": "what the student's logits are compared with in the present batch, [batch, time, vocabulary]",
    "teacher_tokenizer": "the teacher's tokenizer, where it has one of its own",
    "kd": "value of the distillation term in the present batch, before weighting",
    "kd_function": "a function: student's logits, teacher's logits -> value of the distillation term",
    "temperature": "of the distillation term",
    "injected": "vectors that the next forward pass is to carry, [batch, k, width]",
    "positions": "where they belong: places [batch, k], or a mask [batch, time]",
    "adapter": "a module that is to give the same for the same, from one backward pass to the next",
    "branches": "name -> (branch, residual): modules whose outputs are added",
    "ema": "the averaged copy of the weights: a model, tensors by name, or a list in the order of the parameters",
    "scheduler": "the learning-rate scheduler",
    "total_steps": "optimizer steps that the whole training takes",
    "shown_learning_rate": "the learning rate that the log shows for the present step",
    "accumulation": "micro-batches per optimizer step",
    "max_grad_norm": "what gradients are clipped to",
    "clip_key": "what your configuration calls that, for findings to name it; by default max_grad_norm",
}
"""What `watch` takes, and what it means."""
