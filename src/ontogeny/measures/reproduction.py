"""How much of a passage greedy decoding reproduces from its first third, and how closely."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, Variable, dataset, numpy_of, variable
from ontogeny.models.decoding import continue_greedily
from ontogeny.statistics.intervals import wilson

PREFIXES = (5, 10, 20, 50)


class Reproduction(StreamMeasure):
    """Greedy decoding continues the first third of a passage's tokens (`len // 3`) to the passage's length.

    Tokens are those of the text: what stands before it (BOS) is part of the prompt and does not count.

    Per passage, written against true tokens, t of them:
    `accuracy`, matching positions / t; `exact_matches`, their number; `total` = t;
    `prefix_accuracy_5` (`_10`, `_20`, `_50`), accuracy over the first 5 …, NaN if t is less;
    `edit_distance`, Levenshtein distance of the token sequences (insert, delete, replace cost 1 each), and
    `edit_distance_normalised`, the same / t; `common_prefix`, tokens before the first mismatch;
    `memorized`, 1 if accuracy >= `threshold`; `nll`, mean NLL of all tokens but the first (nats), and `perplexity`, its
    exp. Per token: `reproduced`, 1 where the written token is the true one. Per probe set: shares and means over `n`
    passages; passages of fewer than `min_tokens` tokens are `skipped` (NaN).

    Up to the first mismatch, the written tokens are known from the teacher-forced pass that all measures share: each is
    the first choice given the true text before it. Only the tokens after it are generated. An end-of-text token that
    the passage does not have at that place ends the written text; everything after it counts as wrong.
    """

    threshold: float = Field(default=0.6, gt=0, le=1)
    """Accuracy from which a passage counts as memorized."""
    min_tokens: int = Field(default=20, ge=3)
    """Shorter passages are skipped."""
    texts: int = Field(default=8, ge=0)
    """Passages per probe set whose written text is recorded."""
    exact: bool = False
    """Write each text alone and from its prompt on, so that it does not depend on the batch (bf16 rounds otherwise in
    one)."""

    needs: ClassVar[frozenset[Need]] = frozenset({"nll", "top1"})
    added_later: ClassVar[frozenset[str]] = frozenset({"exact"})
    cost: ClassVar[str] = "the shared pass; generates what follows the first mismatch, at most 2/3 of each passage"

    def look(self, context: Context) -> Look:
        """Lay out the passages."""
        return _ReproductionLook(self, context)


class _ReproductionLook:
    def __init__(self, measure: Reproduction, context: Context) -> None:
        self.measure = measure
        self.context = context
        self.axes = FlatAxes.of(context, measure.probes)
        self.nll = np.full(self.axes.passages, np.nan, dtype=np.float32)
        self.first_choice: dict[tuple[str, int], np.ndarray] = {}
        """By probe set and row: int32 [tokens], the first choice at each position of the passage."""

    def see(self, batch: ForwardBatch) -> None:
        lengths = self.axes.lengths[batch.probe][batch.rows]
        nll = numpy_of(batch.nll).astype(np.float64)
        top1 = numpy_of(batch.top1)
        predicted = self.axes.predicted(batch.probe)[batch.rows]
        self.axes.put_passages(batch, np.nansum(nll, axis=1) / np.maximum(predicted, 1), self.nll)
        before = self.axes.bos_tokens[batch.probe][batch.rows]
        for row, length, first, choices in zip(batch.rows, lengths, before, top1, strict=True):
            if length - first >= self.measure.min_tokens:
                self.first_choice[batch.probe, int(row)] = choices[:length].astype(np.int32)

    def result(self) -> Observation:
        written = self._written()
        table = {key: np.full(self.axes.passages, np.nan, dtype=np.float32) for key in ABOUT}
        reproduced = np.zeros(self.axes.tokens, dtype=np.uint8)
        for (name, row), text in written.items():
            prompt, target = self._prompt_and_target(name, row)
            place = self.axes.first_passage[name] + row
            for key, value in scores(text, target, self.measure.threshold).items():
                table[key][place] = value
            first = self.axes.first_token[name][row] + len(prompt)
            reproduced[first : first + len(text)] = text == target[: len(text)]
        self.nll[np.isnan(table["total"])] = np.nan
        variables = {key: variable("passage", table[key], *about) for key, about in ABOUT.items()}
        variables |= {
            "nll": variable("passage", self.nll, "nats", "mean NLL per token"),
            "perplexity": variable("passage", np.exp(self.nll), "1", "exp of the mean NLL"),
            "reproduced": variable("token", reproduced, "1", "is the greedily decoded token the true one"),
            **shares(self.axes, table),
        }
        arrays = dataset(
            variables,
            self.axes.probe_coordinates(),
            self.axes.passage_coordinates(),
            self.axes.token_coordinates(),
            threshold=self.measure.threshold,
            min_tokens=self.measure.min_tokens,
        )
        return Observation(arrays=arrays, samples=list(self._samples(written)))

    def _prompt_and_target(self, name: str, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of the first third of a passage, with what stands before it, and of the rest."""
        passage = self.axes.probes[name].passages[row]
        given = passage.bos_tokens + (len(passage) - passage.bos_tokens) // 3
        return passage.token_ids[:given], passage.token_ids[given:]

    def _written(self) -> dict[tuple[str, int], np.ndarray]:
        """The greedy continuation of each prompt: int32, as long as the rest of the passage or shorter."""
        known: dict[tuple[str, int], np.ndarray] = {}
        prompts, counts = [], []
        end = self.context.tokenizer.eos_token_id
        for (name, row), choices in self.first_choice.items():
            prompt, target = self._prompt_and_target(name, row)
            if self.measure.exact:
                known[name, row] = np.zeros(0, dtype=np.int32)
                prompts.append(prompt)
                counts.append(len(target))
                continue
            mismatches = np.flatnonzero(choices[len(prompt) :] != target)
            count = int(mismatches[0]) + 1 if len(mismatches) else len(target)
            start = np.concatenate([target[: count - 1], choices[len(prompt) :][count - 1 : count]]).astype(np.int32)
            # A first mismatch that is an end-of-text token ends the text where the passage goes on.
            remaining = 0 if start[-1] == end else len(target) - count
            known[name, row] = start
            prompts.append(np.concatenate([prompt, start]))
            counts.append(remaining)
        context = self.context
        sides = [self.axes.probes[name].passages[row].sides for name, row in known]
        generated = continue_greedily(
            context.model, context.tokenizer, prompts, counts, context.batch_tokens, sides, exact=self.measure.exact
        )
        written = {}
        for (key, start), rest in zip(known.items(), generated, strict=True):
            text = np.concatenate([start, rest])
            target = self._prompt_and_target(*key)[1][: len(text)]
            ends = np.flatnonzero((text == end) & (target != end)) if end is not None else np.zeros(0, dtype=int)
            written[key] = text[: int(ends[0]) + 1] if len(ends) else text
        return written

    def _samples(self, written: dict[tuple[str, int], np.ndarray]) -> Iterator[dict[str, object]]:
        decode = self.context.tokenizer.decode
        for (name, row), text in sorted(written.items()):
            if row >= self.measure.texts:
                continue
            prompt, target = self._prompt_and_target(name, row)
            yield {
                "probe": name,
                "passage_id": row,
                "decoding": "greedy",
                "draw": 0,
                "prompt": decode(prompt.tolist()),
                "text": decode(text.tolist()),
                "reference": decode(target.tolist()),
                "ended": len(text) < len(target),
            }


def scores(written: np.ndarray, target: np.ndarray, threshold: float) -> dict[str, float]:
    """The numbers of one passage, by the keys of ABOUT. `target` int [t]; tokens missing from `written` are wrong."""
    from rapidfuzz.distance import Levenshtein

    total = len(target)
    same = np.zeros(total, dtype=bool)
    same[: len(written)] = written[:total] == target[: len(written)]
    mismatches = np.flatnonzero(~same)
    distance = Levenshtein.distance(written.tolist(), target.tolist())
    return {
        "accuracy": float(same.mean()),
        "exact_matches": float(same.sum()),
        "total": float(total),
        **{f"prefix_accuracy_{k}": float(same[:k].mean()) if total >= k else float("nan") for k in PREFIXES},
        "edit_distance": float(distance),
        "edit_distance_normalised": distance / total,
        "common_prefix": float(mismatches[0] if len(mismatches) else total),
        "memorized": float(same.mean() >= threshold),
    }


def shares(axes: FlatAxes, table: dict[str, np.ndarray]) -> dict[str, Variable]:
    """Per probe set: the share of memorized passages with a Wilson interval, means, and how many were skipped."""
    parts = axes.probe_slices()

    def by_probe(statistic: Callable[[np.ndarray], np.floating], key: str) -> np.ndarray:
        return np.array([_of_finite(statistic, table[key][part]) for part in parts])

    n = np.array([np.isfinite(table["total"][part]).sum() for part in parts], dtype=np.int64)
    share = by_probe(np.mean, "memorized")
    low, high = wilson(share, n)
    skipped = np.array([part.stop - part.start for part in parts], dtype=np.int64) - n
    edit_distance = by_probe(np.mean, "edit_distance_normalised")
    return {
        "share_memorized": variable("probe", share, "1", "share of passages that are memorized"),
        "share_memorized_low": variable("probe", low, "1", "95% Wilson interval, lower end"),
        "share_memorized_high": variable("probe", high, "1", "95% Wilson interval, upper end"),
        "n": variable("probe", n, "passages", "passages long enough"),
        "skipped": variable("probe", skipped, "passages", "passages that are too short"),
        "mean_accuracy": variable("probe", by_probe(np.mean, "accuracy"), "1", "mean accuracy"),
        "median_accuracy": variable("probe", by_probe(np.median, "accuracy"), "1", "median accuracy"),
        "mean_edit_distance": variable("probe", edit_distance, "1", "mean normalised edit distance"),
    }


def _of_finite(statistic: Callable[[np.ndarray], np.floating], values: np.ndarray) -> float:
    """A statistic of the finite values; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(statistic(finite)) if len(finite) else float("nan")


ABOUT = {
    "accuracy": ("1", "share of positions at which the written token is the true one"),
    "exact_matches": ("tokens", "positions at which the written token is the true one"),
    "total": ("tokens", "tokens to write"),
    **{f"prefix_accuracy_{k}": ("1", f"accuracy over the first {k} tokens") for k in PREFIXES},
    "edit_distance": ("tokens", "Levenshtein distance"),
    "edit_distance_normalised": ("1", "Levenshtein distance / tokens to write"),
    "common_prefix": ("tokens", "tokens before the first mismatch"),
    "memorized": ("1", "accuracy at or above the threshold"),
}
"""Units and description of each number of a passage."""
