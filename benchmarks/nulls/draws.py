"""Numbers of passages and documents in which nothing happens, in the ways in which real ones are awkward."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ontogeny.analyses.recorded.items import Items
from ontogeny.analyses.recorded.passages import Passages

EPOCHS = np.array([0.0, 1, 2, 3, 5, 8, 12, 20, 30, 50])


@dataclass(frozen=True, kw_only=True)
class Null:
    """How the passages of a draw are alike and unlike."""

    documents: int = 20
    """Trained ones, and as many novel ones."""
    passages: tuple[int, int] = (1, 1)
    """Least and most passages of a document."""
    alike: float = 0.0
    """Share of the variance that all passages of a document have in common."""
    tail: str = "normal"
    """Deviations: `normal`; `heavy`, Student's t with 3 degrees of freedom; `skewed`, lognormal."""
    ties: bool = False
    """Rounded to half of a standard deviation."""
    correlation: float = 0.0
    """Of a deviation with that at the checkpoint before (autoregressive)."""
    memorized: float = 0.5
    """Share of the trained documents that are memorized by the end."""
    spread: float = 1.0
    """Standard deviation of memorized documents, that of the others being 1."""


NULLS = {
    "independent": Null(),
    "clustered": Null(documents=12, passages=(6, 6), alike=0.7),
    "few documents": Null(documents=10),
    "heavy tails": Null(tail="heavy"),
    "skewed": Null(tail="skewed"),
    "ties": Null(ties=True),
    "autocorrelated": Null(correlation=0.8),
    "unequal variance": Null(documents=30, memorized=1 / 6, spread=3.0),
    "unequal sizes": Null(documents=16, passages=(1, 12), alike=0.5),
}


def deviations(null: Null, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Of mean 0 and variance 1, the first axis in order of time."""
    if null.tail == "heavy":
        drawn = random.standard_t(3, shape) / np.sqrt(3)
    elif null.tail == "skewed":
        drawn = (random.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    else:
        drawn = random.normal(0, 1, shape)
    for i in range(1, shape[0]) if null.correlation else ():
        drawn[i] = null.correlation * drawn[i - 1] + np.sqrt(1 - null.correlation**2) * drawn[i]
    return np.round(2 * drawn) / 2 if null.ties else drawn


def _document(null: Null, random: np.random.Generator) -> np.ndarray:
    """Which document each passage is of, int [P]; the first half of the documents is trained on."""
    sizes = random.integers(null.passages[0], null.passages[1] + 1, 2 * null.documents)
    return np.repeat(np.arange(2 * null.documents), sizes)


def _clustered(null: Null, random: np.random.Generator, document: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
    """Deviations of passages, float64 [*leading, P], of which a share belongs to their document."""
    common = deviations(null, random, (*leading, int(document.max()) + 1))[..., document]
    own = deviations(null, random, (*leading, len(document)))
    return np.asarray(np.sqrt(null.alike) * common + np.sqrt(1 - null.alike) * own)


def passages(null: Null, seed: int, layers: int = 4) -> Passages:
    """A table in which nothing goes with anything: not with training, nor memorization, copies, content or layers.

    Documents become memorized at epochs of their own, the passages of one together with probability `alike`.
    """
    random = np.random.default_rng((seed, 1))
    document = _document(null, random)
    count, checkpoints = len(document), len(EPOCHS)
    trained = document < null.documents
    memorized_documents = random.permutation(null.documents)[: round(null.memorized * null.documents)]
    begins = random.integers(2, checkpoints, 2 * null.documents)
    own = random.random(count) > null.alike
    onset = np.where(own, random.integers(2, checkpoints, count), begins[document])
    is_memorized = np.isin(document, memorized_documents)
    memorized = (np.arange(checkpoints)[:, None] >= onset) & is_memorized & trained
    spread = np.where(is_memorized & trained, null.spread, 1.0)
    source = np.array([f"c{number % 2}:{number}" for number in document], dtype=object)
    copies = random.permutation(np.repeat([1, 4], null.documents))[document]
    return Passages(
        step=np.arange(checkpoints) * 10,
        epoch=EPOCHS,
        layer=np.arange(layers),
        score=-5 + spread * _clustered(null, random, document, (checkpoints, layers)),
        memorized=memorized.astype(float),
        accuracy=_clustered(null, random, document, (checkpoints,)),
        nll=3 + 0.3 * _clustered(null, random, document, (checkpoints,)),
        length=np.round(100 + 10 * _clustered(null, random, document, (1,))[0]).astype(np.int64),
        trained=trained,
        document=document,
        name=np.array([f"p/{i}" for i in range(count)], dtype=object),
        source=source,
        copies=copies,
    )


def other_route(null: Null, seed: int, table: Passages) -> Passages:
    """The same passages, written by another route as well as by the first."""
    random = np.random.default_rng((seed, 2))
    return replace(table, accuracy=_clustered(null, random, table.document, (len(table.step),)))


def items(null: Null, seed: int, **changes: Any) -> Items:
    """A set of documents whose loss changes by nothing but chance, nats per token; weights are numbers of tokens."""
    random = np.random.default_rng((seed, 3))
    document = _document(null, random)
    inside = document < null.documents
    tokens = random.integers(50, 150, int(inside.sum())).astype(float)
    loss = 4 + 0.1 * _clustered(null, random, document[inside], (len(EPOCHS),))
    level = random.normal(0, 0.5, null.documents)
    total = np.zeros((len(EPOCHS), null.documents))
    for at, row in enumerate(loss):
        total[at] = np.bincount(document[inside], weights=row * tokens, minlength=null.documents)
    weight = np.bincount(document[inside], weights=tokens, minlength=null.documents)
    fields: dict[str, Any] = {
        "probe": "general",
        "role": "general",
        "what": "loss",
        "unit": "nats per token",
        "worse": 1,
        "step": np.arange(len(EPOCHS)) * 10,
        "total": total + level * weight,
        "weight": weight,
        "items": int(inside.sum()),
    }
    return Items(**(fields | changes))


def clustered_documents(null: Null, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Means of documents, float64 [*shape, documents]."""
    random = np.random.default_rng((seed, 4))
    document = _document(null, random)
    inside = document < null.documents
    values = _clustered(null, random, document[inside], shape)
    counts = np.bincount(document[inside], minlength=null.documents)
    rows = values.reshape(-1, int(inside.sum()))
    sums = [np.bincount(document[inside], weights=row, minlength=null.documents) for row in rows]
    return np.asarray(np.stack(sums).reshape(*shape, null.documents) / counts)
