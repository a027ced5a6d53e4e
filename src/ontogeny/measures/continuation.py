"""Choosing the right continuation among four: a task made from the passages themselves."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import dataset, inside, numpy_of, probe_axis, probe_names, variable

CHOICES = 4


class Continuation(StreamMeasure):
    """The right continuation among four, in the manner of HellaSwag (Zellers et al. 2019).

    An item is the beginning of a passage with four endings of the same number of tokens: its own, and those of three
    other passages of the set. They are drawn by the set's fingerprint, and each ending is a wrong choice equally often.
    The beginning stops before a token that starts with white space, if there is one, and has at least as many tokens as
    an ending. Shorter passages are left out, and so are all but the first of passages that share an ending. A set needs
    four items.

    Per probe set: `acc`, the share of items whose own ending has the highest log-likelihood; `acc_norm`, the same by
    log-likelihood per byte; a tie among t endings counts 1/t. `acc_se` and `acc_norm_se` are standard errors over the
    `n` items. Chance is 0.25. Wrong endings come from other texts, so the task is easier than HellaSwag itself.
    """

    ending_tokens: int = Field(default=16, ge=1)
    """Tokens of an ending."""

    needs: ClassVar[frozenset[Need]] = frozenset({"nll"})
    cost: ClassVar[str] = "a forward pass over four times the tokens of the probe sets; 40 bytes per item on disk"

    def derived(self, probe: ProbeSet) -> ProbeSet:
        """The items as passages: four in a row for each item, the right one first."""
        return _passages(probe, make_items(probe, self.ending_tokens), self.ending_tokens)

    def look(self, context: Context) -> Look:
        """Make the items."""
        names = probe_names(context, self.probes)
        items = {name: make_items(context.probes[name], self.ending_tokens) for name in names}
        return _ContinuationLook(items, self.ending_tokens)


@dataclass(frozen=True, kw_only=True)
class ContinuationItems:
    """Multiple-choice items of one probe set."""

    passage: np.ndarray
    """int64 `[items]`: row of the passage in the set."""
    split: np.ndarray
    """int64 `[items]`: tokens of the beginning."""
    donors: np.ndarray
    """int64 `[items, 4]`: the item that each ending is taken from; in the first column the item itself."""
    ending_bytes: np.ndarray
    """int64 `[items]`: bytes of the item's own ending."""


def make_items(probe: ProbeSet, ending_tokens: int) -> ContinuationItems:
    """Split passages and draw wrong endings. The result depends only on the probe set and the length of endings."""
    splits = [(row, _split(passage, ending_tokens)) for row, passage in enumerate(probe.passages)]
    usable = np.array([pair for pair in splits if pair[1] is not None], dtype=np.int64).reshape(-1, 2)
    endings = np.array(
        [probe.passages[row].token_ids[split : split + ending_tokens] for row, split in usable], dtype=np.int64
    )
    if len(usable):
        usable = usable[np.sort(np.unique(endings, axis=0, return_index=True)[1])]
    usable = usable if len(usable) >= CHOICES else usable[:0]
    n = len(usable)
    generator = np.random.default_rng(derive_seed(0, "continuation", probe.fingerprint))
    donors = np.zeros((n, CHOICES), dtype=np.int64)
    if n:
        shifts = np.concatenate([[0], generator.permutation(np.arange(1, n))[: CHOICES - 1]])
        order = generator.permutation(n)
        donors[order] = order[(np.arange(n)[:, None] + shifts) % n]
    offsets = [probe.passages[row].byte_offsets[[split, split + ending_tokens]] for row, split in usable]
    ending_bytes = np.diff(np.array(offsets, dtype=np.int64).reshape(-1, 2), axis=1)[:, 0]
    return ContinuationItems(passage=usable[:, 0], split=usable[:, 1], donors=donors, ending_bytes=ending_bytes)


def _split(passage: Passage, ending_tokens: int) -> int | None:
    """Tokens of the beginning; None if the passage is too short."""
    last = len(passage) - ending_tokens
    earliest = passage.bos_tokens + ending_tokens
    if last < earliest:
        return None
    raw = np.frombuffer(passage.text.encode(), dtype=np.uint8)
    begins = passage.byte_offsets[earliest : last + 1]
    inside_text = begins < len(raw)
    spaces = np.zeros(len(begins), dtype=bool)
    spaces[inside_text] = np.isin(raw[begins[inside_text]], list(b" \t\n\r"))
    return earliest + int(np.flatnonzero(spaces)[-1]) if spaces.any() else last


def _passages(probe: ProbeSet, items: ContinuationItems, ending_tokens: int) -> ProbeSet:
    token_ids = [probe.passages[row].token_ids for row in items.passage]
    beginnings = [ids[:split] for ids, split in zip(token_ids, items.split, strict=True)]
    endings = [ids[split : split + ending_tokens] for ids, split in zip(token_ids, items.split, strict=True)]
    passages = []
    for row, beginning, donors in zip(items.passage, beginnings, items.donors, strict=True):
        choices = [np.concatenate([beginning, endings[donor]]) for donor in donors]
        made = [passage_of_ids(choice, len(beginning), "continuation") for choice in choices]
        own = probe.passages[row]
        passages += [replace(passage, sides=own.sides, bos_tokens=own.bos_tokens) for passage in made]
    return ProbeSet(name=probe.name, passages=passages, about=f"continuations made from {probe.name}")


def passage_of_ids(token_ids: np.ndarray, split: int, source: str) -> Passage:
    """A passage of token ids without text, supervised from position `split` on."""
    return Passage(
        text="",
        token_ids=token_ids,
        byte_offsets=np.zeros(len(token_ids) + 1, dtype=np.int32),
        source=source,
        supervised=np.arange(len(token_ids)) >= split,
    )


class _ContinuationLook:
    def __init__(self, items: dict[str, ContinuationItems], ending_tokens: int) -> None:
        self.items = items
        self.ending_tokens = ending_tokens
        self.nll = {name: np.full((len(of_probe.passage), CHOICES), np.nan) for name, of_probe in items.items()}

    def see(self, batch: ForwardBatch) -> None:
        item, choice = np.divmod(batch.rows, CHOICES)
        split = self.items[batch.probe].split[item]
        ending = inside(batch, split, split + self.ending_tokens)
        nll = np.where(ending, numpy_of(batch.nll).astype(np.float64), 0.0).sum(axis=1)
        self.nll[batch.probe][item, choice] = nll

    def result(self) -> Observation:
        credit_per_byte, scores = [np.zeros(0)], []
        for name, items in self.items.items():
            per_byte = self.nll[name] / np.maximum(items.ending_bytes[items.donors], 1)
            credit_per_byte.append(_credit(per_byte))
            scores.append([*_mean_and_error(_credit(self.nll[name])), *_mean_and_error(credit_per_byte[-1])])
        acc, acc_se, acc_norm, acc_norm_se = np.array(scores).reshape(-1, 4).T
        counts = np.array([len(items.passage) for items in self.items.values()], dtype=np.int64)
        nll = np.concatenate([np.zeros((0, CHOICES)), *self.nll.values()])
        credit = np.concatenate(credit_per_byte)
        variables = {
            "acc": variable("probe", acc, "1", "share with the right ending likeliest", chance=1 / CHOICES),
            "acc_se": variable("probe", acc_se, "1", "standard error of acc over items"),
            "acc_norm": variable("probe", acc_norm, "1", "the same, likeliest per byte", chance=1 / CHOICES),
            "acc_norm_se": variable("probe", acc_norm_se, "1", "standard error of acc_norm over items"),
            "n": variable("probe", counts, "items", "items"),
            "nll_nats": variable(("item", "choice"), nll, "nats", "summed NLL of each ending; the first one is right"),
            "credit_per_byte": variable("item", credit, "1", "the item's contribution to acc_norm"),
        }
        passages = np.concatenate([np.zeros(0, dtype=np.int64), *(items.passage for items in self.items.values())])
        by_item = {
            "probe_of_item": ("item", np.repeat(np.array(list(self.items), dtype=np.str_), counts)),
            "passage_of_item": ("item", passages.astype(np.int32)),
        }
        probes, choices = probe_axis(list(self.items)), {"choice": np.arange(CHOICES)}
        return Observation(arrays=dataset(variables, probes, by_item, choices, ending_tokens=self.ending_tokens))


def _credit(nll: np.ndarray) -> np.ndarray:
    """Credit of each item: 1 if its first choice alone has the lowest value, 1/t if it ties with t - 1 others, else 0.

    `nll` float64 `[items, choices]`; NaN stays NaN.
    """
    best = nll == nll.min(axis=1, keepdims=True)
    return np.where(np.isnan(nll).any(axis=1), np.nan, best[:, 0] / np.maximum(best.sum(axis=1), 1))


def _mean_and_error(credit: np.ndarray) -> tuple[float, float]:
    """Mean credit, and its standard error."""
    n = len(credit)
    return (float(credit.mean()), float(credit.std(ddof=1) / np.sqrt(n))) if n else (np.nan, np.nan)
