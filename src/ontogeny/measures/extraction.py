"""Verbatim memorization: which passages greedy decoding reproduces from their beginning."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, dataset, numpy_of, variable
from ontogeny.models.decoding import continue_greedily
from ontogeny.statistics.intervals import wilson


class Extraction(StreamMeasure):
    """k-extractable: given the first k tokens of a passage, greedy decoding writes exactly the m tokens that follow.

    Decided without generating (definition: Carlini et al., "Quantifying Memorization Across Neural Language Models",
    2023): greedy decoding reproduces a suffix if and only if every token of the suffix is the model's first choice
    (rank 0) given the true text before it, which one teacher-forced pass shows.

    Per passage, NaN for `extractable` and `matched` if it has fewer than k + m tokens:

    - `extractable`: 1 or 0; `matched`: the share of the suffix that is the first choice;
    - `strength`: 1 - (length of the shortest prefix from which the whole rest is reproduced) / length (extraction
      strength, after Carlini et al., "Extracting training data from large language models", 2021);
    - with `score`, `memorization_score`: the share of the m greedily decoded tokens that are the true ones (Biderman
      et al., "Emergent and predictable memorization", 2023). Unlike `matched`, it decodes from the model's own tokens
      after the first mismatch.

    Per probe set: `share` of extractable passages with a 95% Wilson interval over the `n` passages long enough;
    `skipped`, the passages too short; the means of `strength` and `memorization_score`.

    Per token: `in_extractable_suffix`, 1 inside the suffix of an extractable window. Windows have k + m tokens and
    begin at every `stride`-th token. Windows after the first have the whole passage before them as context, not only k
    tokens. A remainder shorter than a window stays 0.

    Tokens are those of the text: what stands before it (BOS) is part of every prefix and does not count.
    """

    prefix_tokens: int = Field(default=32, ge=1)
    """k: tokens given."""
    suffix_tokens: int = Field(default=32, ge=1)
    """m: tokens to reproduce."""
    stride: int | None = Field(default=None, ge=1)
    """Tokens between the starts of windows; by default m, so that suffixes follow each other without gaps."""
    score: bool = False
    """Compute the memorization score, which generates the tokens after the first mismatch."""
    exact: bool = False
    """For the score: write each suffix alone and from its prefix on, so that it does not depend on the batch (bf16
    rounds otherwise in one)."""

    needs: ClassVar[frozenset[Need]] = frozenset({"rank"})
    added_later: ClassVar[frozenset[str]] = frozenset({"exact"})
    cost: ClassVar[str] = "the shared forward pass; with `score` it generates at most m tokens per passage"

    def needed(self, context: Context) -> frozenset[Need]:
        """With `score` also the first choices."""
        return self.needs | {"top1"} if self.score else self.needs

    def look(self, context: Context) -> Look:
        """Lay out the passages."""
        return _ExtractionLook(self, context)


class _ExtractionLook:
    def __init__(self, measure: Extraction, context: Context) -> None:
        self.measure = measure
        self.context = context
        self.axes = axes = FlatAxes.of(context, measure.probes)
        self.extractable = np.full(axes.passages, np.nan, dtype=np.float32)
        self.matched = np.full(axes.passages, np.nan, dtype=np.float32)
        self.strength = np.full(axes.passages, np.nan, dtype=np.float32)
        self.in_suffix = np.zeros(axes.tokens, dtype=np.uint8)
        self.first_choice: dict[tuple[str, int], np.ndarray] = {}
        """By probe set and row: int32 [m], the first choice at each position of the suffix."""

    def see(self, batch: ForwardBatch) -> None:
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        hits = self.axes.text_rows(batch, numpy_of(batch.rank)) == 0
        before = self.axes.bos_tokens[batch.probe][batch.rows]
        lengths = self.axes.lengths[batch.probe][batch.rows] - before
        hits &= np.arange(hits.shape[1]) < lengths[:, None]
        long_enough = lengths >= k + m
        matched = hits[:, k : k + m].sum(axis=1) / m
        self.axes.put_passages(batch, np.where(long_enough, matched == 1, np.nan), self.extractable)
        self.axes.put_passages(batch, np.where(long_enough, matched, np.nan), self.matched)
        self.axes.put_passages(batch, strength(hits, lengths, before > 0), self.strength)
        self.axes.put_text_tokens(batch, self._suffixes(hits), self.in_suffix)
        if self.measure.score:
            top1 = self.axes.text_rows(batch, numpy_of(batch.top1))
            for row, scored, choices in zip(batch.rows, long_enough, top1, strict=True):
                if scored:
                    self.first_choice[batch.probe, int(row)] = choices[k : k + m].astype(np.int32)

    def _scores(self) -> np.ndarray:
        """The memorization score of each passage: float32, NaN if it is too short.

        Up to the first mismatch, first choices given the true text are what greedy decoding writes; only from there on
        tokens have to be generated.
        """
        k, m = self.measure.prefix_tokens, self.measure.suffix_tokens
        scores = np.full(self.axes.passages, np.nan, dtype=np.float32)
        passages = [self.axes.probes[name].passages[row] for name, row in self.first_choice]
        prompts, counts = [], []
        for passage, choices in zip(passages, self.first_choice.values(), strict=True):
            given = passage.bos_tokens + k
            truth = passage.token_ids[: given + m]
            mismatches = np.flatnonzero(choices != truth[given:])
            known = 0 if self.measure.exact else int(mismatches[0]) + 1 if len(mismatches) else m
            # All that is known is true but for its last token, the first choice there.
            prompts.append(np.concatenate([truth[: given + max(known - 1, 0)], choices[max(known - 1, 0) : known]]))
            counts.append(m - known)
        context = self.context
        generated = continue_greedily(
            context.model,
            context.tokenizer,
            prompts,
            counts,
            context.batch_tokens,
            [passage.sides for passage in passages],
            exact=self.measure.exact,
        )
        for (name, row), passage, prompt, rest in zip(self.first_choice, passages, prompts, generated, strict=True):
            given = passage.bos_tokens + k
            written = np.concatenate([prompt[given:], rest])
            scores[self.axes.first_passage[name] + row] = (written == passage.token_ids[given : given + m]).mean()
        return scores

    def _suffixes(self, hits: np.ndarray) -> np.ndarray:
        """uint8 `[B, T]`: does the token lie in the suffix of an extractable window? `hits` bool `[B, T]`: rank is 0.

        Padding has no hits. Overlapping suffixes are united by summing +1 where one begins and -1 where it ends.
        """
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
        parts = self.axes.probe_slices()
        n = np.array([np.isfinite(self.extractable[part]).sum() for part in parts], dtype=np.int64)
        extractable = np.array([np.nansum(self.extractable[part]) for part in parts])
        share = np.divide(extractable, n, out=np.full(len(n), np.nan), where=n > 0)
        low, high = wilson(share, n)
        skipped = np.array([part.stop - part.start for part in parts], dtype=np.int64) - n
        mean_strength = [_mean(self.strength[part]) for part in parts]
        variables = {
            "share": variable("probe", share, "1", "share of passages that are extractable"),
            "share_low": variable("probe", low, "1", "95% Wilson interval, lower end"),
            "share_high": variable("probe", high, "1", "95% Wilson interval, upper end"),
            "n": variable("probe", n, "passages", "passages long enough"),
            "skipped": variable("probe", skipped, "passages", "passages shorter than prefix and suffix"),
            "extractable": variable("passage", self.extractable, "1", "is the passage extractable"),
            "matched": variable("passage", self.matched, "1", "share of the suffix that is the first choice"),
            "strength": variable("passage", self.strength, "1", "extraction strength"),
            "mean_strength": variable("probe", mean_strength, "1", "mean extraction strength"),
            "in_extractable_suffix": variable("token", self.in_suffix, "1", "is it in an extractable window's suffix"),
        }
        if self.measure.score:
            score = self._scores()
            means = [_mean(score[part]) for part in parts]
            variables["memorization_score"] = variable("passage", score, "1", "share of the greedy suffix that is true")
            variables["mean_memorization_score"] = variable("probe", means, "1", "mean memorization score")
        arrays = dataset(
            variables,
            self.axes.probe_coordinates(),
            self.axes.passage_coordinates(),
            self.axes.token_coordinates(),
            prefix_tokens=self.measure.prefix_tokens,
            suffix_tokens=self.measure.suffix_tokens,
            stride=self.measure.stride or self.measure.suffix_tokens,
        )
        return Observation(arrays=arrays)


def strength(hits: np.ndarray, lengths: np.ndarray, after_bos: np.ndarray | None = None) -> np.ndarray:
    """Extraction strength of each row: float64 [B]. `hits` bool [B, T]: is the token the first choice?

    The shortest prefix reaches up to and includes the last token that is not the first choice. It has at least one
    token where nothing predicts the first; none where the text stands after BOS (`after_bos` bool [B]) alone.
    """
    positions = np.arange(hits.shape[1])
    first_predicted = np.zeros(len(hits), dtype=bool) if after_bos is None else after_bos
    missed = ~hits & (positions < lengths[:, None]) & ((positions > 0) | first_predicted[:, None])
    needed = np.where(
        missed.any(axis=1), hits.shape[1] - missed[:, ::-1].argmax(axis=1), np.where(first_predicted, 0, 1)
    )
    strengths: np.ndarray = 1 - needed / lengths
    return strengths


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
