"""Texts that the model generates from fixed prompts, and statistics of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.errors import DataError
from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import dataset, probe_axis, probe_names, variable
from ontogeny.models.body_and_head import unwrapped
from ontogeny.models.decoding import Sampling, sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Generation(StateMeasure):
    """Texts that continue fixed prompts, decoded greedily and sampled, and n-gram statistics of them.

    A prompt is the beginning of a passage, at most half of it, after what stands before it (BOS), which does not count.
    The passage's own continuation, up to `new_tokens` tokens, is the reference and is never shown to the model.
    Statistics are per probe set, on token ids without the end-of-text token: `distinct_1` and `distinct_2`, different
    n-grams / all n-grams of all texts together (Li et al. 2016); `repetition_4gram`, the share of 4-grams that occurred
    before in the same text, averaged over texts (seq-rep-4, Welleck et al. 2020); `share_ended`, the share of texts
    that the model ended itself; `length` in tokens. Plain names stand for greedy decoding, `sampled_…` for sampling,
    `reference_…` for the references. Special tokens are the tokenizer's, whatever the model's configuration says.
    Samples are drawn by seed, step and probe set.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to take prompts from; by default all."""
    prompts: int = Field(default=4, ge=1)
    """Prompts per probe set, taken from its first passages."""
    prompt_tokens: int = Field(default=32, ge=1)
    """Most tokens of a prompt."""
    new_tokens: int = Field(default=64, ge=1)
    """Most tokens to generate."""
    draws: int = Field(default=1, ge=0)
    """Sampled texts per prompt, in addition to the greedy one."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits before sampling."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Sample from the smallest set of likeliest tokens that together have this probability (nucleus sampling)."""

    exact: bool = False
    """Write each text alone, so that it does not depend on the batch (bf16 rounds otherwise in one)."""

    added_later: ClassVar[frozenset[str]] = frozenset({"exact"})
    cost: ClassVar[str] = "generates probe sets x prompts x (1 + draws) texts, with a forward pass per token"

    def look(self, context: Context) -> Observation:
        """Generate from every prompt. Raises DataError if a probe set has no passage to take a prompt from."""
        context.model.eval()
        samples: list[dict[str, object]] = []
        scores: list[dict[str, float]] = []
        names = probe_names(context, self.probes)
        for name in names:
            prompts = self._prompts(name, context.probes[name])
            texts = {"greedy": self._write(context, prompts, name, sampling=None)}
            if self.draws:
                sampling = Sampling(draws=self.draws, temperature=self.temperature, top_p=self.top_p)
                texts["sampled"] = self._write(context, prompts, name, sampling)
            scores.append(_score(texts, [prompt.reference for prompt in prompts]))
            for way, written in texts.items():
                samples += _sample_rows(context.tokenizer, name, way, prompts, written)
        variables = {}
        for key in scores[0] if scores else ():
            units = "tokens" if key.endswith("length") else "1"
            variables[key] = variable("probe", [score[key] for score in scores], units, _about(key))
        return Observation(arrays=dataset(variables, probe_axis(names)), samples=samples)

    def _prompts(self, name: str, probe: ProbeSet) -> "list[_Prompt]":
        chosen = [(row, p) for row, p in enumerate(probe.passages) if len(p) - p.bos_tokens >= 2][: self.prompts]
        if not chosen:
            raise DataError(f"generation: probe set '{name}' has no passage of two tokens or more")
        prompts = []
        for row, passage in chosen:
            given = passage.bos_tokens + min(self.prompt_tokens, (len(passage) - passage.bos_tokens + 1) // 2)
            reference = passage.token_ids[given : given + self.new_tokens]
            prompts.append(
                _Prompt(passage=row, token_ids=passage.token_ids[:given], reference=reference, sides=passage.sides)
            )
        return prompts

    def _write(
        self, context: Context, prompts: "Sequence[_Prompt]", name: str, sampling: Sampling | None
    ) -> "list[_Written]":
        """Texts in order of prompt, then draw; greedy if `sampling` is None."""
        limit = getattr(unwrapped(context.model).config.get_text_config(), "max_position_embeddings", None)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        new_tokens = min(self.new_tokens, limit - longest) if limit else self.new_tokens
        if new_tokens < 1:
            raise DataError(f"generation: a prompt of {longest} tokens fills the model's context: set prompt_tokens")
        draw = (context.seed, "generation", self.group, name, context.place.step)
        written = sample(
            context.model,
            context.tokenizer,
            [prompt.token_ids for prompt in prompts],
            new_tokens,
            sampling,
            [prompt.sides for prompt in prompts],
            seeds=[derive_seed(*draw, *([prompt.passage] if self.exact else [])) for prompt in prompts],
            exact=self.exact,
        )
        return [_cut(row, context.tokenizer.eos_token_id) for row in written]


@dataclass(frozen=True, kw_only=True)
class _Prompt:
    passage: int
    """Row of the passage in the probe set."""
    token_ids: np.ndarray
    reference: np.ndarray
    sides: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class _Written:
    token_ids: np.ndarray
    """Without the end-of-text token and everything after it."""
    ended: bool
    """Did the model write an end-of-text token?"""


def _cut(token_ids: np.ndarray, eos_id: int | None) -> _Written:
    ends = np.flatnonzero(token_ids == eos_id) if eos_id is not None else np.zeros(0, dtype=np.int64)
    return _Written(token_ids=token_ids[: ends[0]] if len(ends) else token_ids, ended=bool(len(ends)))


def _score(texts: dict[str, list[_Written]], references: list[np.ndarray]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for way, written in texts.items():
        prefix = "" if way == "greedy" else f"{way}_"
        scores |= {f"{prefix}{key}": value for key, value in counts_of([text.token_ids for text in written]).items()}
        scores[f"{prefix}share_ended"] = float(np.mean([text.ended for text in written]))
    return scores | {f"reference_{key}": value for key, value in counts_of(references).items()}


def counts_of(texts: Sequence[np.ndarray]) -> dict[str, float]:
    """distinct_1, distinct_2, repetition_4gram and mean length of texts given as token ids; NaN without n-grams."""
    repetition = [1 - len(np.unique(grams, axis=0)) / len(grams) for text in texts if len(grams := _ngrams(text, 4))]
    return {
        "distinct_1": _distinct(texts, 1),
        "distinct_2": _distinct(texts, 2),
        "repetition_4gram": float(np.mean(repetition)) if repetition else np.nan,
        "length": float(np.mean([len(text) for text in texts])),
    }


def _distinct(texts: Sequence[np.ndarray], n: int) -> float:
    grams = np.concatenate([_ngrams(text, n) for text in texts])
    return len(np.unique(grams, axis=0)) / len(grams) if len(grams) else np.nan


def _ngrams(text: np.ndarray, n: int) -> np.ndarray:
    """int64 `[max(len - n + 1, 0), n]`."""
    if len(text) < n:
        return np.zeros((0, n), dtype=np.int64)
    return np.lib.stride_tricks.sliding_window_view(text.astype(np.int64), n)


_ABOUT = {
    "distinct_1": "different tokens / all tokens",
    "distinct_2": "different bigrams / all bigrams",
    "repetition_4gram": "share of 4-grams that occurred before in the same text",
    "share_ended": "share of texts that the model ended",
    "length": "mean length",
}


def _about(key: str) -> str:
    texts = next((prefix for prefix in ("sampled", "reference") if key.startswith(f"{prefix}_")), "greedy")
    return f"{_ABOUT[key.removeprefix(f'{texts}_')]}, {texts} texts"


def _sample_rows(
    tokenizer: "PreTrainedTokenizerBase",
    name: str,
    decoding: str,
    prompts: Sequence[_Prompt],
    written: Sequence[_Written],
) -> Iterator[dict[str, object]]:
    """Rows of the samples table."""
    draws = len(written) // len(prompts)
    for number, text in enumerate(written):
        prompt = prompts[number // draws]
        yield {
            "probe": name,
            "passage_id": prompt.passage,
            "decoding": decoding,
            "draw": number % draws,
            "prompt": tokenizer.decode(prompt.token_ids.tolist()),
            "text": tokenizer.decode(text.token_ids.tolist()),
            "reference": tokenizer.decode(prompt.reference.tolist()),
            "ended": text.ended,
        }
