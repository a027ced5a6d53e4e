"""Does the model tell the right continuation from wrong ones? A task made from the passages themselves."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import inside, numpy_of, probe_names, variable

CHOICES = 4


class Continuation(StreamMeasure):
    """The right continuation among four, in the manner of HellaSwag (Zellers et al. 2019).

    An item is the first part of a passage with four endings of the same number of tokens: its own, and those of three
    other passages of the set, drawn by the set's fingerprint so that each ending is a wrong one equally often. The
    first part ends where a token begins with white space (if one does) and has at least as many tokens as an ending.
    Shorter passages, and all but the first of those that share an ending, are left out; a set needs four.

    Per probe set: `acc`, the share of items whose own ending has the highest log-likelihood, and `acc_norm`, the same
    by log-likelihood per byte; a tie counts as its chance of being broken rightly. Standard errors over items; `n`.
    Chance is 0.25. Wrong endings come from other texts, so the task is easier than HellaSwag itself.
    """

    ending_tokens: int = Field(default=16, ge=1)
    """Tokens of an ending."""

    needs: ClassVar[frozenset[Need]] = frozenset({"nll"})
    cost: ClassVar[str] = "a forward pass over four times the tokens of the probe sets; 40 bytes per item on disk"

    def derived(self, probe: ProbeSet) -> ProbeSet:
        """The items as passages, four in a row for each; the first is the right one."""
        return _passages(probe, make_items(probe, self.ending_tokens), self.ending_tokens)

    def look(self, context: Context) -> Look:
        """Make the items."""
        names = probe_names(context, self.probes)
        items = {name: make_items(context.probes[name], self.ending_tokens) for name in names}
        return _Look(items, self.ending_tokens)


@dataclass(frozen=True, kw_only=True)
class Items:
    """Multiple-choice items of one probe set."""

    passage: np.ndarray
    """int64 `[items]`: whose beginning it is."""
    split: np.ndarray
    """int64 `[items]`: tokens of the beginning."""
    donors: np.ndarray
    """int64 `[items, 4]`: which item's ending each choice is; the first column is the item itself."""
    ending_bytes: np.ndarray
    """int64 `[items]`: bytes of the item's own ending."""


def make_items(probe: ProbeSet, ending_tokens: int) -> Items:
    """Split passages and draw wrong endings: a function of the probe set alone."""
    splits = [(row, _split(passage, ending_tokens)) for row, passage in enumerate(probe.passages)]
    usable = np.array([pair for pair in splits if pair[1] is not None], dtype=np.int64).reshape(-1, 2)
    endings = np.array([probe.passages[r].token_ids[s : s + ending_tokens] for r, s in usable], dtype=np.int64)
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
    return Items(passage=usable[:, 0], split=usable[:, 1], donors=donors, ending_bytes=ending_bytes)


def _split(passage: Passage, ending_tokens: int) -> int | None:
    """Tokens of the first part; None if the passage is too short."""
    last = len(passage) - ending_tokens
    if last < ending_tokens:
        return None
    raw = np.frombuffer(passage.text.encode(), dtype=np.uint8)
    begins = passage.byte_offsets[ending_tokens : last + 1]
    inside_text = begins < len(raw)
    spaces = np.zeros(len(begins), dtype=bool)
    spaces[inside_text] = np.isin(raw[begins[inside_text]], list(b" \t\n\r"))
    return ending_tokens + int(np.flatnonzero(spaces)[-1]) if spaces.any() else last


def _passages(probe: ProbeSet, items: Items, ending_tokens: int) -> ProbeSet:
    endings = [
        probe.passages[r].token_ids[s : s + ending_tokens] for r, s in zip(items.passage, items.split, strict=True)
    ]
    passages = []
    for row, split, donors in zip(items.passage, items.split, items.donors, strict=True):
        beginning = probe.passages[row].token_ids[:split]
        passages += [
            passage_of_ids(np.concatenate([beginning, endings[donor]]), int(split), "continuation") for donor in donors
        ]
    return ProbeSet(name=probe.name, passages=passages, about=f"continuations made from {probe.name}")


def passage_of_ids(token_ids: np.ndarray, split: int, source: str) -> Passage:
    """Token ids alone, supervised from `split` on: nobody reads the text of a made-up passage."""
    return Passage(
        text="",
        token_ids=token_ids,
        byte_offsets=np.zeros(len(token_ids) + 1, dtype=np.int32),
        source=source,
        supervised=np.arange(len(token_ids)) >= split,
    )


class _Look:
    def __init__(self, items: dict[str, Items], ending_tokens: int) -> None:
        self.items = items
        self.ending_tokens = ending_tokens
        self.nll = {name: np.full((len(of.passage), CHOICES), np.nan) for name, of in items.items()}

    def see(self, batch: ForwardBatch) -> None:
        item, choice = np.divmod(batch.rows, CHOICES)
        split = self.items[batch.probe].split[item]
        ending = inside(batch, split, split + self.ending_tokens)
        nll = np.where(ending, numpy_of(batch.nll).astype(np.float64), 0.0).sum(axis=1)
        self.nll[batch.probe][item, choice] = nll

    def result(self) -> Observation:
        import xarray as xr

        names = np.array(list(self.items), dtype=np.str_)
        counts = [len(of.passage) for of in self.items.values()]
        columns, credits = [], [np.zeros(0)]
        for name, of in self.items.items():
            by_bytes = self.nll[name] / np.maximum(of.ending_bytes[of.donors], 1)
            credits.append(_credit(by_bytes))
            columns.append([*_accuracy(_credit(self.nll[name])), *_accuracy(credits[-1])])
        acc, acc_se, acc_norm, acc_norm_se = np.array(columns).reshape(-1, 4).T
        variables = {
            "acc": variable("probe", acc, "1", "share with the right ending likeliest", chance=1 / CHOICES),
            "acc_se": variable("probe", acc_se, "1", "standard error of acc over items"),
            "acc_norm": variable("probe", acc_norm, "1", "the same, likeliest per byte", chance=1 / CHOICES),
            "acc_norm_se": variable("probe", acc_norm_se, "1", "standard error of acc_norm over items"),
            "n": variable("probe", np.array(counts, dtype=np.int64), "items", "items"),
            "nll_nats": variable(
                ("item", "choice"),
                np.concatenate([np.zeros((0, CHOICES)), *self.nll.values()]),
                "nats",
                "summed NLL of each ending; the first one is right",
            ),
            "credit_per_byte": variable("item", np.concatenate(credits), "1", "what the item counts in acc_norm"),
        }
        passages = np.concatenate([np.zeros(0, dtype=np.int64), *(of.passage for of in self.items.values())])
        coordinates = {
            "probe": names,
            "probe_of_item": ("item", np.repeat(names, counts)),
            "passage_of_item": ("item", passages.astype(np.int32)),
            "choice": np.arange(CHOICES),
        }
        return Observation(arrays=xr.Dataset(variables, coordinates, {"ending_tokens": self.ending_tokens}))


def _credit(nll: np.ndarray) -> np.ndarray:
    """Of each item [items, choices]: 1 if the first choice has the lowest value, in part where it ties; NaN stays."""
    best = nll == nll.min(axis=1, keepdims=True)
    return np.where(np.isnan(nll).any(axis=1), np.nan, best[:, 0] / np.maximum(best.sum(axis=1), 1))


def _accuracy(credit: np.ndarray) -> tuple[float, float]:
    """Mean credit, and its standard error."""
    n = len(credit)
    return (float(credit.mean()), float(credit.std(ddof=1) / np.sqrt(n))) if n else (np.nan, np.nan)
