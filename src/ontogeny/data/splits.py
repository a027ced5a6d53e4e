"""Which document falls into which split, and which passages are chosen: random, fixed by content and seed."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, document_of
from ontogeny.data.documents import document_fingerprint, size_of


def split_documents(
    documents: Sequence[Document], shares: Mapping[str, float], seed: int, corpus: str
) -> dict[str, list[int]]:
    """Indices of the documents of each split, in the order of the corpus.

    Documents are sorted by a hash of seed and content, and the sequence is cut so that each split holds its share of
    all characters, as closely as whole documents allow. Hence an added document moves only those next to a cut, and
    equal documents fall into the same split. Raises DataError if there are fewer different documents than splits.
    """
    groups: dict[str, list[int]] = {}
    for i, document in enumerate(documents):
        groups.setdefault(document_fingerprint(document), []).append(i)
    if len(groups) < len(shares):
        raise DataError(
            f"corpus '{corpus}' has {len(groups)} different document(s), not enough for {len(shares)} splits "
            f"({', '.join(shares)}): give it more documents, or cut them smaller"
        )
    ordered = sorted(groups, key=lambda fingerprint: _priority(seed, fingerprint))
    sizes = np.array([sum(size_of(documents[i]) for i in groups[f]) for f in ordered], dtype=np.float64)
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    splits: dict[str, list[int]] = {}
    begin, share = 0, 0.0
    for number, name in enumerate(shares, start=1):
        share += shares[name]
        cut = int(np.searchsorted(middles, share)) if share < 1 - 1e-9 else len(ordered)
        # at least one group for this split and for each one after it
        end = min(max(cut, begin + 1), len(ordered) - (len(shares) - number))
        splits[name] = sorted(i for fingerprint in ordered[begin:end] for i in groups[fingerprint])
        begin = end
    return splits


def choose(passages: Sequence[Passage], count: int | None, seed: int, spread: bool = False) -> list[int]:
    """Indices of `count` passages chosen at random (None: all), in their order.

    `spread`: over as many documents as there are, one passage of each before a second of any. Fixed by content and
    seed: a larger count keeps what a smaller one chooses, and adds to it.
    """
    if count is None:
        return list(range(len(passages)))
    copies: Counter[str] = Counter()
    priorities: list[bytes] = []
    for passage in passages:
        copies[passage.fingerprint] += 1  # equal passages are chosen independently
        priorities.append(_priority(seed, f"{passage.fingerprint}/{copies[passage.fingerprint]}"))
    order = sorted(range(len(passages)), key=priorities.__getitem__)
    if spread:
        before = Counter[str]()
        rounds: list[int] = []
        for i in order:
            document = document_of(passages[i].source)
            rounds.append(before[document])
            before[document] += 1
        order = [i for _, i in sorted(zip(rounds, order, strict=True), key=lambda pair: pair[0])]
    return sorted(order[:count])


def _priority(seed: int, content: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{content}".encode()).digest()
