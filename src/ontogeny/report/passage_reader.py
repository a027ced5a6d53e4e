"""The passage reader's data: texts, and for every token its NLL, rank and entropy at every checkpoint, packed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from ontogeny.analyses.recorded.loss_records import PassageLosses, Segments
from ontogeny.analyses.recorded.passage_losses import MEASURE, passage_losses
from ontogeny.core.passages import Passage
from ontogeny.core.seeds import derive_seed
from ontogeny.report.packing import Scale, bundle, difference_rows, pack
from ontogeny.store.run_group import RunView, roles

if TYPE_CHECKING:
    import xarray as xr

MOST_CELLS = 700_000
"""Tokens x checkpoints on one page; about one byte each of the three quantities after compression."""
MOST_CHECKPOINTS = 150
QUANTITIES: Mapping[str, tuple[str, Scale, str]] = {
    "nll": ("nll_nats", "root", "nats of NLL"),
    "rank": ("rank", "log", "ranks"),
    "entropy": ("entropy_nats", "root", "nats of entropy"),
}


class PackedScale(TypedDict):
    """How a quantity's bytes are read back; see `packing.Packed`."""

    scale: Scale
    cap: float


class ShownPassage(TypedDict):
    """A passage for reader.js."""

    id: int
    at: int
    """Its first token among the packed ones."""
    source: str
    text: str
    start: int
    """Where its first token begins in `text`, in UTF-16 code units, as JavaScript counts."""
    pieces: list[int]
    """Length of each token in the same units."""
    odd: dict[int, str]
    """Labels of tokens that have no text alone, by their place in the passage."""


class ShownSet(TypedDict):
    """A probe set for reader.js."""

    name: str
    role: str
    passages: list[ShownPassage]


@dataclass(frozen=True, kw_only=True)
class PassageReader:
    """What the page's passage reader shows of one run."""

    name: str
    bundle: str
    """Base64 text for reader.js; see `packing.bundle`."""
    notes: tuple[str, ...]
    """What was left out, and how exact the numbers are."""
    first_choice: tuple[tuple[str, int], ...]
    """(probe set, passage id) of the two passages that are open at first."""


def build_reader(run: RunView, most_cells: int = MOST_CELLS) -> PassageReader | None:
    """Pack a run's per-token record; None without one, or without passages whose text is stored with the run."""
    losses = passage_losses(run)
    if losses is None:
        return None
    data = run.measure(run.group_of(MEASURE))
    segments = Segments.of(data)
    known = np.asarray([name in run.probes for name in segments.probe])
    if not known.any():
        return None
    at = evenly_spread(data.sizes["checkpoint"], MOST_CHECKPOINTS)
    kept = _choose(losses, segments.lengths, known, most_cells // len(at))
    tokens = np.concatenate([segments.starts[i] + np.arange(segments.lengths[i]) for i in kept])
    arrays, scales, errors = _pack_all(data, at, tokens)
    extracted = _extracted(run, data, tokens, at)
    if extracted is not None:
        arrays["extracted"] = difference_rows(extracted)
    header = {
        "run": run.name,
        "steps": data["step"].to_numpy()[at].tolist(),
        "epochs": np.round(data["epoch"].to_numpy().astype(float)[at], 3).tolist(),
        "tokensSeen": data["tokens_seen"].to_numpy()[at].tolist(),
        "scales": scales,
        "sets": _sets(run, segments, kept),
    }
    precision = (
        f"Numbers here are rounded to one byte each (off by at most {', '.join(errors)} on this page); the run "
        "directory holds them exactly."
    )
    notes = [precision, *_left_out(run, segments, kept)]
    if len(at) < data.sizes["checkpoint"]:
        notes.append(f"The page holds {len(at)} of {data.sizes['checkpoint']} checkpoints, evenly spread.")
    return PassageReader(
        name=run.name, bundle=bundle(header, arrays), notes=tuple(notes), first_choice=_first_choice(run, losses, kept)
    )


def _pack_all(
    data: "xr.Dataset", checkpoints: np.ndarray, tokens: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, PackedScale], list[str]]:
    """Bytes and scale of each quantity, and the largest errors of rounding in words."""
    arrays: dict[str, np.ndarray] = {}
    scales: dict[str, PackedScale] = {}
    errors: list[str] = []
    for key, (variable, scale, unit) in QUANTITIES.items():
        if variable not in data:
            continue
        values = _read(data[variable], checkpoints, tokens)
        packed = pack(np.where(values < 0, np.nan, values), scale)
        arrays[key] = difference_rows(packed.codes)
        scales[key] = PackedScale(scale=scale, cap=packed.cap)
        errors.append(f"{packed.worst_error:.2g} {unit}")
    return arrays, scales, errors


def evenly_spread(count: int, most: int) -> np.ndarray:
    """At most `most` indices below `count`, evenly spaced, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _change(losses: PassageLosses) -> np.ndarray:
    """float64 [P]: last minus first mean NLL; 0 where it is not a number."""
    return np.nan_to_num(losses.mean[-1] - losses.mean[0], nan=0.0, posinf=0.0, neginf=0.0)


def _choose(losses: PassageLosses, lengths: np.ndarray, known: np.ndarray, most_tokens: int) -> np.ndarray:
    """Indices of the passages on the page: all if they fit, else per set those that changed most and random others."""
    if lengths[known].sum() <= most_tokens:
        return np.flatnonzero(known)
    change = _change(losses)
    names = list(dict.fromkeys(losses.probe[known]))
    room = most_tokens // len(names)
    chosen: list[int] = []
    for name in names:
        of_set = np.flatnonzero(known & (losses.probe == name))
        by_change = of_set[np.argsort(change[of_set], kind="stable")]
        quarter = max(1, room // int(max(lengths[of_set].mean(), 1)) // 4)
        most_changed = np.stack([by_change[::-1][:quarter], by_change[:quarter]], axis=1).ravel()
        random = np.random.default_rng(derive_seed(0, "reader", name)).permutation(of_set)
        order = list(dict.fromkeys([*most_changed.tolist(), *random.tolist()]))
        fits = np.cumsum(lengths[order]) <= max(room, int(lengths[order[0]]))
        chosen += [i for i, fit in zip(order, fits, strict=True) if fit]
    return np.sort(np.asarray(chosen))


def _read(array: "xr.DataArray", checkpoints: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """float64 [token, checkpoint]; reads one checkpoint at a time, since chunks hold one each."""
    values = np.empty((len(tokens), len(checkpoints)))
    for column, i in enumerate(checkpoints):
        values[:, column] = array.isel(checkpoint=int(i)).to_numpy()[tokens]
    return values


def _extracted(run: RunView, data: "xr.Dataset", tokens: np.ndarray, checkpoints: np.ndarray) -> np.ndarray | None:
    """uint8 [token, checkpoint]: 1 where greedy decoding writes the token; None without a measure of these tokens.

    From `reproduction`, or else from `extraction`, which marks continuations that come out whole.
    """
    mask = None
    for kind, variable in (("reproduction", "reproduced"), ("extraction", "in_extractable_suffix")):
        group = run.group_of(kind)
        if mask is None and group in run.measures:
            mask = run.measure(group).get(variable)
    axes = ("probe_of_token", "passage", "position")
    if (
        mask is None
        or mask.sizes["token"] != data.sizes["token"]
        or any(not np.array_equal(mask[name].to_numpy(), data[name].to_numpy()) for name in axes)
    ):
        return None
    index_of = {int(step): i for i, step in enumerate(mask["step"].to_numpy())}
    extracted = np.zeros((len(tokens), len(checkpoints)), dtype=np.uint8)
    for column, i in enumerate(checkpoints):
        step = int(data["step"].to_numpy()[i])
        if step in index_of:
            extracted[:, column] = mask.isel(checkpoint=index_of[step]).to_numpy()[tokens] == 1
    return extracted


def _sets(run: RunView, segments: Segments, kept: np.ndarray) -> list[ShownSet]:
    """Per probe set its passages, in the order of the packed tokens."""
    role = roles(run)
    sets: dict[str, ShownSet] = {}
    at = 0
    for i in kept:
        name, passage_id = str(segments.probe[i]), int(segments.passage[i])
        passage = run.probes[name].passages[passage_id]
        shown = sets.setdefault(name, ShownSet(name=name, role=role[name], passages=[]))
        shown["passages"].append(_shown_passage(passage, passage_id, at))
        at += len(passage)
    return list(sets.values())


def _shown_passage(passage: Passage, passage_id: int, at: int) -> ShownPassage:
    """The text, and where its tokens lie in it: from bytes, as they are stored, to UTF-16 code units."""
    points = np.frombuffer(passage.text.encode("utf-32-le"), dtype="<u4")
    first_byte = np.cumsum([0, *(1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF))])[:-1]
    units = np.cumsum([0, *(1 + (points > 0xFFFF))])
    edges = units[np.searchsorted(first_byte, passage.byte_offsets, side="left")]
    pieces = np.diff(edges)
    covered = np.diff(passage.byte_offsets)
    odd = {
        int(i): "part of a character" if covered[i] else f"token {int(passage.token_ids[i])}"
        for i in np.flatnonzero(pieces == 0)
    }
    return ShownPassage(
        id=passage_id,
        at=at,
        source=passage.source,
        text=passage.text,
        start=int(edges[0]),
        pieces=pieces.tolist(),
        odd=odd,
    )


def _left_out(run: RunView, segments: Segments, kept: np.ndarray) -> list[str]:
    """Notes on passages that are not on the page."""
    names, counts = np.unique(segments.probe[kept], return_counts=True)
    shown = [
        f"{count} of {len(run.probes[name])} in {name}"
        for name, count in zip(names, counts, strict=True)
        if count < len(run.probes[name])
    ]
    if not shown:
        return []
    return [
        f"To stay small, the page holds only some of the passages ({', '.join(shown)}): those whose loss rose most, "
        "those whose loss fell most, and some drawn at random."
    ]


def _first_choice(run: RunView, losses: PassageLosses, kept: np.ndarray) -> tuple[tuple[str, int], ...]:
    """The passage of general text whose loss rose most, and the trained passage whose loss fell most.

    Among those at least as long as the median, so that there is something to read.
    """
    role, change = roles(run), _change(losses)

    def pick(wanted: tuple[str, ...], sign: int) -> int:
        for kind in wanted:
            candidates = [i for i in kept if role.get(str(losses.probe[i])) == kind]
            if candidates:
                long = losses.tokens >= np.median(losses.tokens[candidates])
                return max((i for i in candidates if long[i]), key=lambda i: sign * change[i])
        return int(kept[0])

    order = ("trained", "held out", "another part", "replayed", "other")
    pair = pick(order[::-1], 1), pick(order, -1)
    return tuple((str(losses.probe[i]), int(losses.passage[i])) for i in pair)
