"""The cost of an audit: seconds per inspected step, per other step, and per check.

Two copies of one model take the same steps in turn, one of them audited, both with the same batches and optimizer
(a model of 11 M parameters with a vocabulary of 32,000, where reading the logits weighs most; and one of a vocabulary
of 2,048). The audit inspects the first 20 steps and every 500th. Its share of "an hour's run" at the bare step's pace
is (start + end + inspected steps x added + other steps x added) / 3,600. Checks are timed on the recording of such a
run. Seconds are CPU seconds on one thread, so that other work on the machine matters little; `added` is the median
difference between steps taken in turn.
"""

import copy
import time
from typing import Any

import numpy as np
import torch

from benchmarks.ratios import asked, ratio_with_interval
from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.session import Audit

STEPS = 31
HOUR_S = 3600.0
FIRST, EVERY = 20, 500


class _Side:
    """One of the two trainings."""

    def __init__(self, model: Any, vocabulary: int, *, audited: bool, first: int) -> None:
        self.model, self.vocabulary = copy.deepcopy(model).train(), vocabulary
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.audit = Audit(self.model, self.optimizer, first=first, quiet=True) if audited else None

    def step(self, number: int) -> float:
        ids = torch.randint(2, self.vocabulary, (8, 128), generator=torch.Generator().manual_seed(number))
        started = time.process_time()
        self.model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - started


def _model(vocabulary: int) -> Any:
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=640,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    return AutoModelForCausalLM.from_config(config)


def _seconds(run: Any) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _in_turn(model: Any, vocabulary: int, *, first: int) -> tuple[list[float], list[float], float, float, Audit]:
    """Seconds of audited and bare steps taken in turn, of beginning the audit and of ending it."""
    audited, bare = (_Side(model, vocabulary, audited=audited, first=first) for audited in (True, False))
    assert audited.audit is not None
    for side in (audited, bare):
        side.step(10_000)  # warm up, before the audit begins
    begin = _seconds(audited.audit.start)
    ours, theirs = [], []
    for number in range(STEPS):
        pair = [(audited, ours), (bare, theirs)]
        for side, seconds in pair if number % 2 == 0 else reversed(pair):
            seconds.append(side.step(number))
    return ours, theirs, begin, _seconds(lambda: audited.audit and audited.audit.stop()), audited.audit


def _slowest_checks(audit: Audit) -> str:
    """The three that take longest, in milliseconds."""
    slowest = sorted(_of_checks(audit).items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name} {1000 * seconds:.2g} ms" for name, seconds in slowest)


def costs(vocabulary: int) -> dict[str, Any]:
    """Of one size of vocabulary."""
    model = _model(vocabulary)
    looked, bare, begin, end, audit = _in_turn(model, vocabulary, first=STEPS)
    others, bare_beside, _, _, _ = _in_turn(model, vocabulary, first=1)
    every_tenth = np.arange(STEPS) % 10 == 0  # whose gradients are looked at, too
    added = np.subtract(others, bare_beside)
    added_norms = max(float(np.median(added[every_tenth])), 0.0)
    kept = np.flatnonzero(~every_tenth)
    others, bare_beside = [others[n] for n in kept], [bare_beside[n] for n in kept]
    added_look = float(np.median(np.subtract(looked, bare)))
    added_other = max(float(np.median(added[~every_tenth])), 0.0)  # noise below 0 does not make up for anything
    steps = HOUR_S / float(np.median(bare))
    looks = FIRST + steps / EVERY
    hour = begin + end + looks * added_look + (steps - looks) * (0.9 * added_other + 0.1 * added_norms)
    name = f"vocabulary {vocabulary:,}"
    return {
        f"{name}: a step that is looked at, by a bare one": ratio_with_interval(looked, bare)
        | {"bare_ms": 1000 * float(np.median(bare)), "added_ms": 1000 * added_look},
        f"{name}: any other step, by a bare one": ratio_with_interval(others, bare_beside)
        | {"added_ms": 1000 * added_other, "added_ms_every_tenth": 1000 * added_norms},
        f"{name}: begin and end": {"begin_ms": 1000 * begin, "end_ms": 1000 * end},
        f"{name}: added to the first {FIRST} steps": {"seconds": FIRST * added_look + begin},
        f"{name}: share of an hour's run": asked({"share": hour / HOUR_S}, at_most=0.03),
        f"{name}: all checks on its recording": {"seconds": sum(_of_checks(audit).values())}
        | {"slowest": _slowest_checks(audit)},
    }


def _of_checks(audit: Audit) -> dict[str, float]:
    """CPU seconds of each check on the audit's recording, by its id."""
    return {check.id: _seconds(lambda check=check: check.judge(audit._recorder.seen)) for check in all_checks()}


def main() -> dict[str, Any]:
    """Both vocabularies."""
    torch.set_num_threads(1)
    return {what: figures for vocabulary in (2048, 32_000) for what, figures in costs(vocabulary).items()}


if __name__ == "__main__":
    for row, figures in main().items():
        print(row, figures)
