"""Which text the model has memorized verbatim: measured, not claimed."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, numpy_of, variable
from ontogeny.models.decoding import continue_greedily
from ontogeny.statistics.intervals import wilson


class Extraction(StreamMeasure):
    """k-extractable: given the first k tokens of a passage, greedy decoding writes the m that follow, exactly.

    Decided without generating (Carlini et al., "Quantifying Memorization Across Neural Language Models", 2023, on the
    definition): greedy decoding reproduces a suffix if and only if, with the true text before it, every token of the
    suffix is the model's first choice (rank 0), which one teacher-forced pass shows.

    Per passage: `extractable` 1 or 0, and `matched`, the share of the suffix that is the first choice; NaN if the
    passage has fewer than k + m tokens. Per probe set: `share` with a 95% Wilson interval, `n`, and `skipped`, the
    passages too short; `strength`, 1 - (length of the shortest prefix from which the whole rest is reproduced) / length
    (extraction strength, after Carlini et al., "Extracting training data from large language models", 2021),
    and its mean over the set. With `score`, also `memorization_score`:
    the share of the m tokens that greedy decoding writes by itself which are the true ones (Biderman et al., "Emergent
    and predictable memorization", 2023); it differs from `matched` after the first mismatch, from which on it is
    generated. Per token: `in_extractable_suffix`, for windows of k + m tokens that begin at every
    `stride`-th token: 1 where a window's whole suffix would be written. Windows after the first have all of the
    passage before them as context, not only k tokens; a rest of a passage shorter than a window stays 0.
    """

    prefix_tokens: int = Field(default=32, ge=1)
    """k: tokens given."""
    suffix_tokens: int = Field(default=32, ge=1)
    """m: tokens to reproduce."""
    stride: int | None = Field(default=None, ge=1)
    """Tokens between the beginnings of windows; by default m, so that suffixes follow each other without gaps."""
    score: bool = False
    """Generate what follows the first mismatch, for the memorization score."""

    needs: ClassVar[frozenset[Need]] = frozenset({"rank"})
    cost: ClassVar[str] = "the shared forward pass; with `score` it generates at most m tokens per passage"

    def needed(self, context: Context) -> frozenset[Need]:
        """The first choices, too, if something is generated."""
        return self.needs | {"top1"} if self.score else self.needs

    def look(self, context: Context) -> Look:
        """Start with nothing seen."""
        return _Look(self, context)


class _Look:
    def __init__(self, measure: Extraction, context: Context) -> None:
        self.measure = measure
        self.context = context
        self.axes = axes = FlatAxes.of(context, measure.probes)
        self.extractable = np.full(axes.passages, np.nan, dtype=np.float32)
        self.matched = np.full(axes.passages, np.nan, dtype=np.float32)
        self.strength = np.full(axes.passages, np.nan, dtype=np.float32)
        self.in_suffix = np.zeros(axes.tokens, dtype=np.uint8)
        self.first_choice: dict[tuple[str, int], np.ndarray] = {}

    def see(self, batch: ForwardBatch) -> None:
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        hits = numpy_of(batch.rank) == 0
        lengths = self.axes.lengths[batch.probe][batch.rows]
        long_enough = lengths >= k + m
        matched = hits[:, k : k + m].sum(axis=1) / m
        self.axes.put_passages(batch, np.where(long_enough, matched == 1, np.nan), self.extractable)
        self.axes.put_passages(batch, np.where(long_enough, matched, np.nan), self.matched)
        self.axes.put_passages(batch, strength(hits, lengths), self.strength)
        self.axes.put_tokens(batch, self._suffixes(hits), self.in_suffix)
        if self.measure.score:
            for row, long, choices in zip(batch.rows, long_enough, numpy_of(batch.top1), strict=True):
                if long:
                    self.first_choice[batch.probe, int(row)] = choices[k : k + m].astype(np.int32)

    def _scores(self) -> np.ndarray:
        """The memorization score of each passage: float32, NaN where it is too short."""
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        found = np.full(self.axes.passages, np.nan, dtype=np.float32)
        truths = {key: self.axes.probes[key[0]].passages[key[1]].token_ids[: k + m] for key in self.first_choice}
        prompts, counts = [], []
        for key, choices in self.first_choice.items():
            apart = np.flatnonzero(choices != truths[key][k:])
            known = int(apart[0]) + 1 if len(apart) else m
            prompts.append(np.concatenate([truths[key][: k + known - 1], choices[known - 1 : known]]))
            counts.append(m - known)
        rests = continue_greedily(
            self.context.model, self.context.tokenizer, prompts, counts, self.context.batch_tokens
        )
        for (key, truth), prompt, rest in zip(truths.items(), prompts, rests, strict=True):
            written = np.concatenate([prompt[k:], rest])
            found[self.axes.first_passage[key[0]] + key[1]] = (written == truth[k:]).mean()
        return found

    def _suffixes(self, hits: np.ndarray) -> np.ndarray:
        """uint8 `[B, T]`: does the token lie in a window's suffix that holds hits only? (Padding holds none.)"""
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        batch, length = hits.shape
        starts = np.arange(k, length - m + 1, self.measure.stride or m)
        before = np.concatenate([np.zeros((batch, 1), dtype=np.int64), np.cumsum(hits, axis=1)], axis=1)
        whole = before[:, starts + m] - before[:, starts] == m
        edges = np.zeros((batch, length + 1), dtype=np.int64)
        edges[:, starts] += whole
        edges[:, starts + m] -= whole
        return (np.cumsum(edges, axis=1)[:, :length] > 0).astype(np.uint8)

    def result(self) -> Observation:
        import xarray as xr

        parts = [self.extractable[part] for part in self._parts]
        n = np.array([np.isfinite(part).sum() for part in parts], dtype=np.int64)
        found = np.array([np.nansum(part) for part in parts])
        share = np.divide(found, n, out=np.full(len(n), np.nan), where=n > 0)
        low, high = wilson(share, n)
        skipped = np.array([len(part) for part in parts], dtype=np.int64) - n
        variables = {
            "share": variable("probe", share, "1", "share of passages that are extractable"),
            "share_low": variable("probe", low, "1", "95% Wilson interval, lower end"),
            "share_high": variable("probe", high, "1", "95% Wilson interval, upper end"),
            "n": variable("probe", n, "passages", "passages long enough"),
            "skipped": variable("probe", skipped, "passages", "passages shorter than prefix and suffix"),
            "extractable": variable("passage", self.extractable, "1", "is the passage extractable"),
            "matched": variable("passage", self.matched, "1", "share of the suffix that is the first choice"),
            "strength": variable("passage", self.strength, "1", "extraction strength"),
            "mean_strength": variable("probe", [_mean(self.strength[p]) for p in self._parts], "1", "its mean"),
            "in_extractable_suffix": variable("token", self.in_suffix, "1", "would be written given what precedes it"),
        }
        if self.measure.score:
            score = self._scores()
            variables["memorization_score"] = variable("passage", score, "1", "share of the greedy suffix that is true")
            means = [_mean(score[part]) for part in self._parts]
            variables["mean_memorization_score"] = variable("probe", means, "1", "mean memorization score")
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        settings = {"prefix_tokens": k, "suffix_tokens": m, "stride": self.measure.stride or m}
        coordinates = {
            **self.axes.probe_coordinates(),
            **self.axes.passage_coordinates(),
            **self.axes.token_coordinates(),
        }
        return Observation(arrays=xr.Dataset(variables, coordinates, settings))

    @property
    def _parts(self) -> list[slice]:
        return [self.axes.of_probe(name) for name in self.axes.probes]


def strength(hits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Extraction strength of each row: float64 [B]. `hits` bool [B, T]: is the token the first choice?

    The shortest prefix ends before the last token that is not; it has one token at least, which nothing predicts.
    """
    positions = np.arange(hits.shape[1])
    missed = ~hits & (positions < lengths[:, None]) & (positions > 0)
    last = np.where(missed.any(axis=1), hits.shape[1] - 1 - missed[:, ::-1].argmax(axis=1), 0)
    found: np.ndarray = 1 - (last + 1) / lengths
    return found


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
