"""What the model writes by itself when it is given the beginning of a passage: how much of the rest, and how nearly."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, numpy_of, variable
from ontogeny.models.decoding import continue_greedily
from ontogeny.statistics.intervals import wilson

PREFIXES = (5, 10, 20, 50)


class Reproduction(StreamMeasure):
    """Prompt: the first third of a passage's tokens (`len // 3`). Greedy decoding continues it to its length.

    Per passage, written against true tokens, t of them:
    `accuracy`: positions that agree / t; `exact_matches`: their number; `total`: t;
    `prefix_accuracy_5` (`_10`, `_20`, `_50`): agreement over the first 5 …, NaN where t is less;
    `edit_distance`: Levenshtein distance of token sequences (insert, delete, replace: 1 each), and
    `edit_distance_normalised`: by t; `common_prefix`: tokens before the first that differs;
    `memorized`: accuracy >= `threshold`; `nll`: mean NLL of all its tokens but the first (nats), and `perplexity`: exp.
    Per token: `reproduced`, 1 where what is written agrees. Per probe set: shares and means with n; passages with fewer
    than `min_tokens` tokens are `skipped` (NaN).

    Written tokens up to the first that differs are known from the teacher-forced pass that all measures share (each is
    the first choice, given the truth before it); only from there on something is generated. An end-of-text token that
    stands elsewhere than in the passage ends what is written: all after it counts as wrong.
    """

    threshold: float = Field(default=0.6, gt=0, le=1)
    """Accuracy from which a passage counts as memorized."""
    min_tokens: int = Field(default=20, ge=3)
    """Shorter passages are skipped."""
    texts: int = Field(default=8, ge=0)
    """Passages per probe set whose written text is kept."""

    needs: ClassVar[frozenset[Need]] = frozenset({"nll", "top1"})
    cost: ClassVar[str] = "the shared pass; generates what follows the first mismatch: at most 2/3 of each passage"

    def look(self, context: Context) -> Look:
        """Start with nothing seen."""
        return _Look(self, context)


class _Look:
    def __init__(self, measure: Reproduction, context: Context) -> None:
        self.measure = measure
        self.context = context
        self.axes = FlatAxes.of(context, measure.probes)
        self.nll = np.full(self.axes.passages, np.nan, dtype=np.float32)
        self.first_choice: dict[tuple[str, int], np.ndarray] = {}

    def see(self, batch: ForwardBatch) -> None:
        lengths = self.axes.lengths[batch.probe][batch.rows]
        nll = numpy_of(batch.nll).astype(np.float64)
        top1 = numpy_of(batch.top1)
        self.axes.put_passages(batch, np.nansum(nll, axis=1) / np.maximum(lengths - 1, 1), self.nll)
        for row, length, choices in zip(batch.rows, lengths, top1, strict=True):
            if length >= self.measure.min_tokens:
                self.first_choice[batch.probe, int(row)] = choices[:length].astype(np.int32)

    def result(self) -> Observation:
        import xarray as xr

        written = self._written()
        table = {key: np.full(self.axes.passages, np.nan, dtype=np.float32) for key in ABOUT}
        reproduced = np.zeros(self.axes.tokens, dtype=np.uint8)
        for (name, row), text in written.items():
            truth = self.axes.probes[name].passages[row].token_ids
            given = len(truth) // 3
            place = self.axes.first_passage[name] + row
            for key, value in scores(text, truth[given:], self.measure.threshold).items():
                table[key][place] = value
            first = self.axes.first_token[name][row] + given
            reproduced[first : first + len(text)] = text == truth[given : given + len(text)]
        self.nll[np.isnan(table["total"])] = np.nan
        variables = {key: variable("passage", table[key], *about) for key, about in ABOUT.items()}
        variables |= {
            "nll": variable("passage", self.nll, "nats", "mean NLL per token"),
            "perplexity": variable("passage", np.exp(self.nll), "1", "exp of the mean NLL"),
            "reproduced": variable("token", reproduced, "1", "is what the model writes by itself the true token"),
            **shares(self.axes, table),
        }
        coordinates = {
            **self.axes.probe_coordinates(),
            **self.axes.passage_coordinates(),
            **self.axes.token_coordinates(),
        }
        attributes = {"threshold": self.measure.threshold, "min_tokens": self.measure.min_tokens}
        return Observation(arrays=xr.Dataset(variables, coordinates, attributes), samples=list(self._samples(written)))

    def _written(self) -> dict[tuple[str, int], np.ndarray]:
        """What greedy decoding writes after each prompt: int32, as long as the rest of the passage, or shorter."""
        known: dict[tuple[str, int], np.ndarray] = {}
        prompts, counts = [], []
        for (name, row), choices in self.first_choice.items():
            truth = self.axes.probes[name].passages[row].token_ids
            given = len(truth) // 3
            apart = np.flatnonzero(choices[given:] != truth[given:])
            upto = given + int(apart[0]) + 1 if len(apart) else len(truth)
            known[name, row] = np.concatenate([truth[given : upto - 1], choices[upto - 1 : upto]]).astype(np.int32)
            prompts.append(np.concatenate([truth[:given], known[name, row]]))
            counts.append(len(truth) - upto)
        end = self.context.tokenizer.eos_token_id
        for i, (name, row) in enumerate(known):
            truth = self.axes.probes[name].passages[row].token_ids
            if counts[i] and known[name, row][-1] == end:
                counts[i] = 0  # it ended where the passage goes on
        rests = continue_greedily(
            self.context.model, self.context.tokenizer, prompts, counts, self.context.batch_tokens
        )
        written = {}
        for (key, start), rest in zip(known.items(), rests, strict=True):
            text = np.concatenate([start, rest])
            truth = self.axes.probes[key[0]].passages[key[1]].token_ids
            target = truth[len(truth) // 3 :][: len(text)]
            ended = np.flatnonzero((text == end) & (target != end)) if end is not None else np.zeros(0, dtype=int)
            written[key] = text[: int(ended[0]) + 1] if len(ended) else text
        return written

    def _samples(self, written: dict[tuple[str, int], np.ndarray]) -> Iterator[dict[str, Any]]:
        decode = self.context.tokenizer.decode
        for (name, row), text in sorted(written.items()):
            if row >= self.measure.texts:
                continue
            truth = self.axes.probes[name].passages[row].token_ids
            given = len(truth) // 3
            yield {
                "probe": name,
                "passage_id": row,
                "decoding": "greedy",
                "draw": 0,
                "prompt": decode(truth[:given].tolist()),
                "text": decode(text.tolist()),
                "reference": decode(truth[given:].tolist()),
                "ended": len(text) < len(truth) - given,
            }


def scores(written: np.ndarray, target: np.ndarray, threshold: float) -> dict[str, float]:
    """The passage's numbers. `written` may be shorter than `target`, int [t]: what is missing is wrong."""
    from rapidfuzz.distance import Levenshtein

    total = len(target)
    same = np.zeros(total, dtype=bool)
    same[: len(written)] = written[:total] == target[: len(written)]
    apart = np.flatnonzero(~same)
    distance = Levenshtein.distance(written.tolist(), target.tolist())
    return {
        "accuracy": float(same.mean()),
        "exact_matches": float(same.sum()),
        "total": float(total),
        **{f"prefix_accuracy_{k}": float(same[:k].mean()) if total >= k else float("nan") for k in PREFIXES},
        "edit_distance": float(distance),
        "edit_distance_normalised": distance / total,
        "common_prefix": float(apart[0] if len(apart) else total),
        "memorized": float(same.mean() >= threshold),
    }


def shares(axes: FlatAxes, table: dict[str, np.ndarray]) -> dict[str, Any]:
    """Per probe set: the share of memorized passages with a Wilson interval, means, and how many were skipped."""
    parts = [axes.of_probe(name) for name in axes.probes]
    n = np.array([np.isfinite(table["total"][part]).sum() for part in parts], dtype=np.int64)
    share = np.array([_of(np.mean, table["memorized"][part]) for part in parts])
    low, high = wilson(share, n)
    skipped = np.array([part.stop - part.start for part in parts], dtype=np.int64) - n
    means = {
        "mean_accuracy": ("accuracy", np.mean, "1", "mean accuracy"),
        "median_accuracy": ("accuracy", np.median, "1", "median accuracy"),
        "mean_edit_distance": ("edit_distance_normalised", np.mean, "1", "mean normalised edit distance"),
    }
    return {
        "share_memorized": variable("probe", share, "1", "share of passages that are memorized"),
        "share_memorized_low": variable("probe", low, "1", "95% Wilson interval, lower end"),
        "share_memorized_high": variable("probe", high, "1", "95% Wilson interval, upper end"),
        "n": variable("probe", n, "passages", "passages long enough"),
        "skipped": variable("probe", skipped, "passages", "passages that are too short"),
        **{
            key: variable("probe", [_of(function, table[name][part]) for part in parts], units, about)
            for key, (name, function, units, about) in means.items()
        },
    }


def _of(function: Any, values: np.ndarray) -> float:
    """Of the finite values; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(function(finite)) if len(finite) else float("nan")


ABOUT = {
    "accuracy": ("1", "positions at which the written token is the true one"),
    "exact_matches": ("tokens", "how many positions agree"),
    "total": ("tokens", "tokens to write"),
    **{f"prefix_accuracy_{k}": ("1", f"agreement over the first {k} tokens") for k in PREFIXES},
    "edit_distance": ("tokens", "Levenshtein distance"),
    "edit_distance_normalised": ("1", "Levenshtein distance by the length of the truth"),
    "common_prefix": ("tokens", "tokens before the first that differs"),
    "memorized": ("1", "accuracy at or above the threshold"),
}
