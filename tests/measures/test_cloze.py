from typing import Any

import numpy as np
import pytest

from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.cloze import Cloze, find_words
from tests.measures.small import HandBatch, byte_passage, log_probabilities, make_context, random_probe


def cut(pieces: list[str]) -> Passage:
    """A passage whose tokens are these pieces of text."""
    sizes = [len(piece.encode()) for piece in pieces]
    return Passage(
        text="".join(pieces),
        token_ids=np.arange(len(pieces), dtype=np.int32),
        byte_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        source="by hand",
        supervised=np.ones(len(pieces), dtype=bool),
    )


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        (["the", " cat", " sat", "."], " sat"),
        (["the", " cat", " sat"], " cat"),  # the last one may have been cut off
        (["the", " cat", " s", "at", "\n"], " sat"),
        (["the", " ", "cat", " sat."], "cat"),  # no token ends where "sat" does
        (["one", " the,cat", "!"], None),  # no token begins where "cat" does, and "the" ends inside one
        (["the", "."], None),  # nothing predicts a first token
        (["un", "known", " word"], None),  # one that begins at the first token has nothing before it either
        (["a", " don't", "?"], " don't"),
        (["naïve", " é", "té", "…", " oui"], " été"),
        (["x", " foo_bar2", "("], " foo_bar2"),
        (["...", "!", "?"], None),
    ],
)
def test_the_last_complete_word(pieces: list[str], word: str | None) -> None:
    words = find_words(ProbeSet(name="p", passages=[cut(["-"]), cut(pieces)]))
    if word is None:
        assert len(words.passage) == 0
    else:
        assert words.passage.tolist() == [1]
        assert "".join(pieces[words.first[0] : words.past[0]]) == word


def test_numbers_by_hand() -> None:
    # words: tokens 2-3 of the first passage, 1-2 of the third; the second has none
    passages = [cut(["a", " b", " c", "d", "."]), cut(["a"]), cut(["a", " b", "c", "!"]), cut(["a", " b", "."])]
    probe = ProbeSet(name="p", passages=passages)
    look = Cloze().look(make_context(None, [probe]))
    look.see(HandBatch(probe, [2, 0], nll=[[0.5, 0.25, 9], [9, 1, 2, 9]], rank=[[0, 0, 5], [5, 0, 1, 0]]))
    look.see(HandBatch(probe, [1, 3], nll=[[], [0.25, 9]], rank=[[], [0, 1]]))
    observed = look.result().arrays
    assert observed["passage_of_item"].values.tolist() == [0, 2, 3]
    assert observed["first_token"].values.tolist() == [2, 1, 1]
    assert observed["tokens"].values.tolist() == [2, 2, 1]
    assert observed["nll_nats"].values.tolist() == [3.0, 0.75, 0.25]
    assert observed["correct"].values.tolist() == [0, 1, 1]
    # accuracy 2/3, its error sqrt(1/3) / sqrt(3) (sample deviation of 0, 1, 1); mean NLL 4/3; deviation of the NLLs
    # sqrt(((5/3)^2 + (7/12)^2 + (13/12)^2) / 2), over sqrt(3), times perplexity
    deviation = np.sqrt(((5 / 3) ** 2 + (7 / 12) ** 2 + (13 / 12) ** 2) / 2)
    assert float(observed["accuracy"][0]) == pytest.approx(2 / 3)
    assert float(observed["accuracy_se"][0]) == pytest.approx(1 / 3)
    assert float(observed["perplexity"][0]) == pytest.approx(np.exp(4 / 3))
    assert float(observed["perplexity_se"][0]) == pytest.approx(np.exp(4 / 3) * deviation / np.sqrt(3))
    assert int(observed["n"][0]) == 3


def test_it_agrees_with_the_model(model: Any) -> None:
    texts = ["one two three.", "every bird flies over water again ", "no", "stone by stone, they built"]
    probe = ProbeSet(name="p", passages=[byte_passage(text) for text in texts])
    observed = run_stream_looks(make_context(model, [probe]), [Cloze()])[0]["cloze"].arrays
    words = {0: b"three", 1: b"again", 3: b"they"}
    assert observed["passage_of_item"].values.tolist() == list(words)
    for item, (row, word) in enumerate(words.items()):
        ids = probe.passages[row].token_ids
        begin = texts[row].encode().rindex(word)
        places = np.arange(begin, begin + len(word))
        log_p = log_probabilities(model, ids)[places - 1]
        assert float(observed["nll_nats"][item]) == pytest.approx(
            -log_p[np.arange(len(word)), ids[places]].sum(), abs=1e-4
        )
        assert bool(observed["correct"][item]) == bool((log_p.argmax(1) == ids[places]).all())


def test_a_memorized_word_is_known_and_noise_is_not(model: Any) -> None:
    probe = ProbeSet(name="p", passages=[byte_passage(f"word{i} and then another{i} end ") for i in range(20)])
    observed = run_stream_looks(make_context(model, [probe]), [Cloze()])[0]["cloze"].arrays
    assert float(observed["accuracy"][0]) == 0.0  # random weights: three bytes right by chance, about 300^-3
    assert int(observed["n"][0]) == 20
    look = Cloze().look(make_context(None, [probe]))
    n = [len(p) - 1 for p in probe.passages]
    look.see(HandBatch(probe, range(20), nll=[[0.0] * k for k in n], rank=[[0] * k for k in n]))
    planted = look.result().arrays
    assert float(planted["accuracy"][0]) == 1.0
    assert float(planted["perplexity"][0]) == 1.0


def test_sets_without_words(model: Any) -> None:
    observed = run_stream_looks(make_context(model, [random_probe("p", [4, 9])]), [Cloze()])[0]["cloze"].arrays
    assert int(observed["n"][0]) == 0
    assert np.isnan(observed["accuracy"][0])
