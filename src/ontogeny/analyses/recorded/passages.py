"""What measures recorded of each passage at each checkpoint, as one table."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ontogeny.core.analyses import Analysis, RecordedRun
from ontogeny.core.errors import StoreError
from ontogeny.core.passages import document_of
from ontogeny.store.run_group import roles

if TYPE_CHECKING:
    import xarray as xr


NO_LONG_PASSAGES = "trained passages that are long enough to be reproduced: set data.min_length higher"
"""What is lacking where all of them were skipped, ready to print."""


@dataclass(frozen=True, kw_only=True)
class Passages:
    """P passages at C checkpoints (the first is the one before training) and L transitions between blocks."""

    step: np.ndarray
    """int64 [C]"""
    epoch: np.ndarray
    """float64 [C]"""
    layer: np.ndarray
    """int64 [L]: number of the block that the transition begins at."""
    score: np.ndarray
    """float64 [C, L, P]: compression in nats."""
    memorized: np.ndarray
    """float64 [C, P]: 1, 0, or NaN for skipped passages."""
    accuracy: np.ndarray
    """float64 [C, P]: share of positions reproduced."""
    nll: np.ndarray
    """float64 [C, P]: mean NLL in nats."""
    length: np.ndarray
    """int64 [P]: tokens."""
    trained: np.ndarray
    """bool [P]"""
    document: np.ndarray
    """int64 [P]: which document a passage is of."""
    name: np.ndarray
    """text [P]: `probe set/number`."""
    source: np.ndarray
    """text [P]: corpus and document."""
    copies: np.ndarray
    """int64 [P]: how often the text stands in the training data, if the name of its document says so; else 1."""

    @property
    def documents(self) -> int:
        """Number of documents."""
        return int(self.document.max()) + 1 if len(self.document) else 0


class PassageAnalysis(Analysis):
    """The base of analyses of passages: their compression, and how much of them a model reproduces."""

    of: Literal["generation", "reconstruction"] = "generation"
    """What the model writes from a passage's beginning, or an autoencoder from its latents."""
    score: Literal["score", "scale_free"] = "score"
    """Which compression."""

    def passages(self, run: RecordedRun) -> Passages:
        """The table to analyze. Raises StoreError naming what the run lacks."""
        return passages_of(run, score=self.score, of=self.of)


def passages_of(run: RecordedRun, *, score: str = "score", of: str = "generation") -> Passages:
    """Read a run's compression and reproduction of its trained and its novel probe sets.

    `score`: `score` or `scale_free`; `of`: `generation`, or `reconstruction` by an autoencoder. Raises StoreError
    naming what the run lacks.
    """
    groups = ("compression", "reproduction") if of == "generation" else ("reconstruction", "reconstruction")
    needed = " and ".join(dict.fromkeys(groups))
    for group in groups:
        if group not in run.measures:
            raise StoreError(
                f"{run.path} has no measure '{group}': add it to the recipe, or  ontogeny measure {run.path} "
                f"--kind {group}"
            )
    trained = roles_of(run)
    if set(trained.values()) != {True, False}:
        raise StoreError(
            f"{run.path} needs a probe set of text that it trains on, and one of the same corpus that it does not: add "
            "train: {of: CORPUS/train} and novel: {of: CORPUS/novel} to data.probes"
        )
    states, written = (run.measure(group) for group in groups)
    common, left, right = np.intersect1d(states.step.values, written.step.values, return_indices=True)
    if len(common) < 2 or common[0] != 0:
        raise StoreError(f"{run.path}: {needed} need two common checkpoints, the first at step 0")
    measured = set(map(str, states.probe_of_passage.values)) & set(map(str, written.probe_of_passage.values))
    if {trained[name] for name in measured & set(trained)} != {True, False}:
        raise StoreError(
            f"{run.path}: {needed} need a trained and a novel probe set that all looked at: it is "
            f"{', '.join(sorted(measured)) or 'none'}"
        )
    keys = [(name, i) for name in trained if name in measured for i in range(len(run.probes[name].passages))]
    at_state, at_written = places(states, keys), places(written, keys)
    passages = [run.probes[name].passages[i] for name, i in keys]
    source = np.array([document_of(passage.source) for passage in passages], dtype=object)
    originals = [original_document(passage.source) for passage in passages]
    labels = np.array([f"{probe}/{original}" for (probe, _), original in zip(keys, originals, strict=True)])
    _, document = np.unique(labels, return_inverse=True)

    def reproduced(variable: str) -> np.ndarray:
        return np.asarray(written[variable].values[right][:, at_written].astype(np.float64))

    return Passages(
        step=common,
        epoch=states.epoch.values[left].astype(np.float64),
        layer=states.block.values,
        score=states[f"passage_{score}"].values[left][:, :, at_state].astype(np.float64),
        memorized=reproduced("memorized"),
        accuracy=reproduced("accuracy"),
        nll=reproduced("nll"),
        length=np.array([len(passage) for passage in passages], dtype=np.int64),
        trained=np.array([trained[name] for name, _ in keys]),
        document=document,
        name=np.array([f"{name}/{i}" for name, i in keys], dtype=object),
        source=source,
        copies=np.array([_copies(str(name)) for name in source], dtype=np.int64),
    )


def roles_of(run: RecordedRun) -> dict[str, bool]:
    """Probe sets that are trained on (True) or held out from the same corpora (False), trained ones first.

    As `store.run_group.roles` has them: from the recipe, or from names where there is none.
    """
    known = {name: role == "trained" for name, role in roles(run).items() if role in ("trained", "held out")}
    return dict(sorted(known.items(), key=lambda item: not item[1]))


def places(data: "xr.Dataset", keys: list[tuple[str, int]]) -> np.ndarray:
    """Where the passages (probe set, id) stand on a measure's passage axis: int64 [keys]. KeyError if one is not."""
    names, ids = data.probe_of_passage.values, data.passage_id.values
    place = {(str(name), int(i)): at for at, (name, i) in enumerate(zip(names, ids, strict=True))}
    return np.array([place[key] for key in keys], dtype=np.int64)


def original_document(source: str) -> str:
    """The document of a passage whose source is corpus:document#byte_offset; copies of a document are one document."""
    return _COPY.sub(r"\1", document_of(source))


_COPY = re.compile(r"(-x(\d+))(?:/\d+)?$")


def _copies(source: str) -> int:
    """The number behind `-x` in a document's name: `canary-3-x16/2` is one of 16."""
    match = _COPY.search(source)
    return int(match[2]) if match else 1
