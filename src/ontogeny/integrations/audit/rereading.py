"""Calls functions that the user named, at the end of the audit: what a resume would see, and what a text embeds to."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.reloading import copied_again
from ontogeny.integrations.audit.sharing import shared_text
from ontogeny.looking.guard import looking

if TYPE_CHECKING:
    from ontogeny.integrations.audit.recorder import Recorder

MOST_CHARACTERS = 5_000_000
"""Of texts that are compared."""
MOST_IDS = 1_000_000
"""Ids that are kept, the first ones."""
MOST_PAIRS = 256
"""Pairs of text and embedding that are kept, and embedded anew."""
MOST_STEPS = 8
"""Steps at which a resume is asked for its next batch."""


def attach(recorder: "Recorder") -> None:
    """Keep pairs of embedding and text as they are watched; call the named functions at the end."""
    reader = Rereader(recorder)
    recorder.listeners.on_watch |= {
        "ids": reader.keep_ids,
        "embeddings": reader.keep_embeddings,
        "texts": reader.keep_texts,
        "train_texts": first_texts,
        "validation_texts": first_texts,
    }
    for check, look in (
        ("validation_in_training", reader.compare_texts),
        ("pairing_broken", reader.embed_anew),
        ("resume_sees_other_batches", reader.ask_for_next_batches),
    ):
        if check not in recorder.skip:
            recorder.listeners.at_end.append(look)


class Rereader:
    """Texts and embeddings of the batches, as many as are needed."""

    def __init__(self, recorder: "Recorder") -> None:
        self.recorder = recorder
        self.embeddings: list[np.ndarray] = []
        self.texts: list[str] = []
        self.ids = 0

    def keep_ids(self, value: Any) -> list[str]:
        """A batch's ids, empty once there are enough."""
        names = id_names(value) if self.ids < MOST_IDS else []
        self.ids += len(names)
        return names

    def keep_embeddings(self, value: Any) -> int:
        """Keep a batch's vectors [B, d]; the recording gets their number."""
        if len(self.embeddings) < MOST_PAIRS:
            self.embeddings += list(vectors(value))
        return len(value)

    def keep_texts(self, value: Iterable[str]) -> int:
        """Keep a batch's texts; the recording gets their number."""
        texts = list(value)
        if len(self.texts) < MOST_PAIRS:
            self.texts += texts
        return len(texts)

    def compare_texts(self) -> None:
        """What is evaluated on against what is trained on."""
        train, validation = (self.recorder.seen.latest(f"{name}_texts") for name in ("train", "validation"))
        if train and validation:
            self.recorder.seen.reread.shared = shared_text(train, validation)

    def ask_for_next_batches(self) -> None:
        """`next_batch_after(step)` at some steps, against the ids that training saw there."""
        seen = self.recorder.seen
        function = seen.latest("next_batch_after")
        watched: dict[int, list[str]] = {}
        for step, ids in seen.watched.get("ids", ()):
            watched.setdefault(step, []).extend(ids)
        steps = sorted(step for step, ids in watched.items() if ids)
        if function is None or not steps:
            return
        with looking(self.recorder.model, parameters=copied_again(self.recorder.model)):
            for at in np.unique(np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps)), dtype=int)):
                step = steps[int(at)]
                seen.reread.next_batches.append((step, watched[step], id_names(function(step))))

    def embed_anew(self) -> None:
        """Each kept text through `encode`, against the embedding that came with it and against all others."""
        seen = self.recorder.seen
        encode, count = seen.latest("encode"), min(len(self.texts), len(self.embeddings), MOST_PAIRS)
        if encode is None or not count or len(self.texts) != len(self.embeddings):
            return
        with looking(self.recorder.model, parameters=copied_again(self.recorder.model)):
            anew = _unit(vectors(encode(self.texts[:count])))
        similarity = anew @ _unit(np.stack(self.embeddings[:count])).T
        own = np.diagonal(similarity).copy()
        nearer = (similarity > own[None, :] + 1e-9).sum(axis=0)
        ties = (np.abs(similarity - own[None, :]) <= 1e-9).sum(axis=0) - 1
        seen.reread.own_rank = 1 + nearer + ties / 2


def first_texts(value: Iterable[str]) -> list[str]:
    """As many texts as are compared."""
    found: list[str] = []
    length = 0
    for text in value:
        found.append(text)
        length += len(text)
        if length >= MOST_CHARACTERS:
            break
    return found


def id_names(value: Any) -> list[str]:
    """Ids of a batch's examples, as texts."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return [str(one) for one in np.asarray(value).reshape(-1).tolist()]


def vectors(value: Any) -> np.ndarray:
    """Rows of float64 [n, d], of a tensor, an array or nested lists; an example's axes beyond the first are one."""
    if hasattr(value, "detach"):
        value = value.detach().float().cpu().numpy()
    rows = np.asarray(value, dtype=np.float64)
    return rows.reshape(len(rows), -1)


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
