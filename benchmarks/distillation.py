"""A step of distillation over the student's own step and the teacher's forward pass, beside TRL's two losses.

And a step that reads the teacher's targets from a cache, over the student's own step alone: 256 logits and the rest, or
64 random samples, of each token.

Every side takes the same step on the same batch of random tokens: next-token loss and forward KL at temperature 2, full
vocabulary, in float32; the losses are checked to be equal (but top-k's, which is another number). Plain is the
student's step without the KL and one forward pass of the teacher, with all its logits; no limit, since ours makes them
in tiles. TRL's chunked loss takes hidden states, so its next-token loss has to make the student's logits once more.
Ours is the step that `kd` takes in a run, the numbers that it tells besides included. Liger's kernels need Triton,
which runs on no CPU. Sides are taken in turn, and ratios are given with intervals. Seconds are CPU seconds on one
thread, on which other work on the machine weighs less; where it contends for caches and memory, wide intervals say so.
"""

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.ratios import asked, ratio_with_interval
from ontogeny.core.cached_targets import TargetForm
from ontogeny.core.passages import Passage
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule
from ontogeny.data.collate import Batch, collate
from ontogeny.models.companions import Companion
from ontogeny.models.sources.ladder import shape
from ontogeny.objectives.compose import Objective, count_units
from ontogeny.objectives.terms.kd import Kd
from ontogeny.objectives.terms.next_token import NextToken
from ontogeny.runs.cached_targets import fill
from ontogeny.store.cached_targets import TargetShard, TargetsKey, writing_shard
from ontogeny.train.allocator import keep_freed_memory
from ontogeny.train.training import silent

_LENGTH = 128
_TEMPERATURE = 2.0
_CASES = {
    "vocabulary 2,048, nano from micro": (2048, "nano", "micro", 8, 15, (1.12, 1.25)),
    "vocabulary 32,000, micro from mini": (32_000, "micro", "mini", 4, 7, (1.35, 1.45)),
}
"""Vocabulary, student, teacher, passages of a batch, rounds, and what is asked of full and of top-k."""
_ASKED_OF_CACHED = {"cached top_k 256": 1.30, "cached samples 64": 1.10}
_SAME_NUMBER = ("full", "trl_gkd", "trl_chunked")
"""Sides whose losses must be equal; the others' are other numbers, or estimates."""
_HERE = Progress(step=0, total_steps=1, epoch=0.0)


class _Tokenizer:
    """All that a model from scratch asks of its tokenizer."""

    bos_token_id = eos_token_id = pad_token_id = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def _model(size: Any, vocabulary: int, seed: int) -> Any:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    tokenizer: Any = _Tokenizer(vocabulary)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**shape(size, _LENGTH, tokenizer, 0.0)))


def _batch(vocabulary: int, count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, vocabulary, (count, _LENGTH), generator=generator).int().numpy()
    offsets, all_of_them = torch.zeros(_LENGTH + 1).int().numpy(), torch.ones(_LENGTH).bool().numpy()
    rows = [
        Passage(text="", token_ids=row, byte_offsets=offsets, source=f"random:{i}", supervised=all_of_them)
        for i, row in enumerate(ids)
    ]
    return collate(rows, 0)


class _Side:
    """A student with its optimizer, and a loss."""

    def __init__(self, student: Any, loss: Callable[[Any], torch.Tensor]) -> None:
        self.model, self.loss = copy.deepcopy(student).train(), loss
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def seconds(self) -> float:
        """Of one step: CPU time of the process, on which other work on the machine weighs little."""
        started = time.process_time()
        self.optimizer.zero_grad()
        self.loss(self.model).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return time.process_time() - started


def _shard(folder: Path, companion: Companion, batch: Batch, form: TargetForm) -> TargetShard:
    """The companion's targets of the batch, on disk."""
    key = TargetsKey(teacher_sha256="", config_sha256="", tokenizer_sha256="", passages_sha256="batch", form=form)
    with writing_shard(key.folder(folder), key) as writer:
        fill(writer, companion, batch.passages, form, silent)
    return TargetShard(key.folder(folder), key)


def _losses(teacher: Any, batch: Batch, vocabulary: int, folder: Path) -> dict[str, Callable[[Any], torch.Tensor]]:
    """By side: the loss of a student. Caches go to `folder`."""
    ids = batch["input_ids"]
    units = {"tokens": float(ids[:, 1:].numel()), "bytes": 0.0, "examples": float(len(ids)), "batch": 1.0}
    companion = Companion(name="teacher", model=teacher, tokenizer=None, described={})

    def composed(targets: Any = None, **settings: Any) -> Callable[[Any], torch.Tensor]:
        kd = Kd(temperature=Schedule(value=_TEMPERATURE), **settings)
        objective = Objective([NextToken(), kd], companions={"teacher": companion}, targets=targets)
        return lambda model: objective.train_loss(objective.step_forward(model, batch), _HERE, units)[0]

    def cached(**kept: int) -> dict[str, TargetShard]:
        form = TargetForm(temperatures=(_TEMPERATURE,), vocabulary=vocabulary, **kept)
        return {"teacher": _shard(folder, companion, batch, form)}

    plain = Objective([NextToken()])

    def next_token(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
        forward = plain.forward(model, batch)
        assert count_units(forward)["tokens"] == units["tokens"]
        return plain.train_loss(forward, _HERE, units)[0], forward.logits

    def floor(model: Any) -> torch.Tensor:
        with torch.no_grad():
            teacher(input_ids=ids, use_cache=False)
        return next_token(model)[0]

    sides = {
        "floor": floor,
        "student alone": lambda model: next_token(model)[0],
        "full": composed(compared="full"),
        "top_k": composed(compared="top_k", top_k=256),
        "cached top_k 256": composed(cached(top_k=256), compared="top_k", top_k=256),
        "cached top_k 64": composed(cached(top_k=64), compared="top_k", top_k=64),
        "cached samples 64": composed(cached(samples=64), compared="full"),
    }
    return sides | _peers(teacher, ids, next_token)


def _peers(teacher: Any, ids: torch.Tensor, next_token: Callable[[Any], Any]) -> dict[str, Any]:
    """TRL's losses, where TRL has them: that of GKD on all logits, and the tiled one on hidden states."""
    sides: dict[str, Any] = {}
    try:
        from trl.experimental.gkd import GKDTrainer
        from trl.trainer.distillation_trainer import _chunked_divergence_loss
    except ImportError:
        return sides

    def gkd(model: Any) -> torch.Tensor:
        with torch.no_grad():
            theirs = teacher(input_ids=ids, use_cache=False).logits
        loss, logits = next_token(model)
        args = (logits[:, :-1].flatten(0, 1), theirs[:, :-1].flatten(0, 1))  # its mean is over the first axis
        return loss + _TEMPERATURE**2 * GKDTrainer.generalized_jsd_loss(*args, beta=0.0, temperature=_TEMPERATURE)

    def chunked(model: Any) -> torch.Tensor:
        with torch.no_grad():
            theirs = teacher.gpt_neox(input_ids=ids, use_cache=False).last_hidden_state
        own = model.gpt_neox(input_ids=ids, use_cache=False).last_hidden_state
        heads = [m.get_output_embeddings().weight for m in (model, teacher)]
        mask = torch.ones_like(ids[:, 1:])
        kl = _chunked_divergence_loss(own[:, :-1], theirs[:, :-1], *heads, mask, 0.0, temperature=_TEMPERATURE)[0]
        logits = model.get_output_embeddings()(own)[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()) + _TEMPERATURE**2 * kl

    return {"trl_gkd": gkd, "trl_chunked": chunked}


def beside(
    vocabulary: int, student: str, teacher: str, count: int, rounds: int, bounds: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """By side: its step over the plain one's, as a ratio with interval, and milliseconds; ours over the peers'.

    Sides that read a cache are compared with the student's step alone. `bounds`: what is asked of full and top-k.
    """
    keep_freed_memory()  # as a training session does
    torch.set_num_threads(1)
    master = _model(teacher, vocabulary, 1).requires_grad_(False).eval()
    own = _model(student, vocabulary, 0)
    with tempfile.TemporaryDirectory() as folder:
        losses = _losses(master, _batch(vocabulary, count), vocabulary, Path(folder))
    sides = {name: _Side(own, loss) for name, loss in losses.items()}
    values = {name: float(sides[name].loss(sides[name].model).detach()) for name in sides if name in _SAME_NUMBER}
    assert max(values.values()) - min(values.values()) < 1e-3, values  # the work is the same
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-2, rounds):
        order = list(sides) if turn % 2 else list(reversed(sides))
        for name in order:
            taken = sides[name].seconds()
            if turn >= 0:
                seconds[name].append(taken)
    floor, alone = seconds.pop("floor"), seconds.pop("student alone")
    asked_of = dict(zip(("full", "top_k"), bounds, strict=True)) | _ASKED_OF_CACHED
    figures = {}
    for name, own_seconds in seconds.items():
        cached = name.startswith("cached")
        what = f"{name}, by the {'student alone' if cached else 'plain step and the pass of the teacher'}"
        beneath = alone if cached else floor
        medians = {"step_ms": 1000 * median(own_seconds), "beside_ms": 1000 * median(beneath)}
        figures[what] = ratio_with_interval(own_seconds, beneath) | medians
        if name in asked_of:
            figures[what] = asked(figures[what], at_most=asked_of[name])
    for name in ("full", "top_k"):
        for peer in sorted(seconds.keys() & {"trl_gkd", "trl_chunked"}):
            beside_peer = ratio_with_interval(seconds[name], seconds[peer])
            figures[f"{name}, by {peer.replace('_', ' ')}"] = asked(beside_peer, at_most=0.85)
    return figures


def main() -> dict[str, Any]:
    """Both vocabularies."""
    return {
        f"{case}: {side}": figures for case, settings in _CASES.items() for side, figures in beside(*settings).items()
    }


if __name__ == "__main__":
    import json

    print(json.dumps(main(), indent=1))
