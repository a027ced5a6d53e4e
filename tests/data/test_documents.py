import hashlib

import pytest

from ontogeny.core.corpora import Corpus, Document
from ontogeny.core.errors import DataError
from ontogeny.data.documents import (
    ReadCorpus,
    corpus_fingerprint,
    document_fingerprint,
    drop_repeats,
    read_documents,
    size_of,
)
from tests.data.conftest import documents

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


class Given(ReadCorpus):
    texts: tuple[str, ...]

    def read(self) -> list[Document]:
        return documents(*self.texts)


def kept(*texts: str, what: str = "paragraphs") -> list[str]:
    return [d.text for d in drop_repeats(documents(*texts), what)]  # type: ignore[arg-type]


def test_none_keeps_everything() -> None:
    assert kept("a", "a", what="none") == ["a", "a"]


def test_the_first_of_equal_documents_stays_in_its_place() -> None:
    assert kept("a", "b", "a", "c", "b", what="documents") == ["a", "b", "c"]


def test_equal_paragraphs_are_dropped_with_the_space_before_them() -> None:
    assert kept("x y\n\nz", "new\n\nx   y\n\nlast") == ["x y\n\nz", "new\n\nlast"]


def test_a_paragraph_repeated_within_a_document_is_dropped() -> None:
    assert kept("a\n\nb\n\na\n") == ["a\n\nb"]


def test_a_document_of_which_nothing_is_left_is_dropped() -> None:
    assert kept("a\n\nb", "b\n\na", "c") == ["a\n\nb", "c"]


def test_text_without_repeats_is_untouched() -> None:
    text = "a\r\n\r\n  b\n \t\n\n\nc\n\n"
    assert kept(text) == [text]


def test_windows_line_ends_separate_paragraphs() -> None:
    assert kept("a\r\n\r\nb", "b\r\n\r\nc") == ["a\r\n\r\nb", "c"]


def test_a_paragraph_is_known_by_a_quarter_of_its_13_word_sequences() -> None:
    # LONG has 16 words, so 4 sequences. Behind 12 other words: 28 words, 16 sequences, the same 4 known: a quarter.
    new = " ".join(f"new{i}" for i in range(40))
    twelve, thirteen = (" ".join(new.split()[:n]) for n in (12, 13))
    assert kept(LONG, f"{twelve} {LONG}") == [LONG]
    assert kept(LONG, f"{thirteen} {LONG}") == [LONG, f"{thirteen} {LONG}"]  # 4 of 17


def test_what_repeats_within_a_paragraph_does_not_count() -> None:
    assert kept(f"{LONG} {LONG}") == [f"{LONG} {LONG}"]


def test_short_paragraphs_must_be_equal() -> None:
    assert kept("one two three", "one two three four") == ["one two three", "one two three four"]


def test_no_paragraph_of_a_row_can_be_dropped() -> None:
    row = Document(text="ab", source="rows:1", completion_spans=((1, 2),))
    with pytest.raises(DataError, match=r"rows:1 .* write deduplicate: documents"):
        list(drop_repeats([row], "paragraphs"))
    assert list(drop_repeats([row, row], "documents")) == [row]


def test_fingerprint_covers_text_supervision_and_messages_not_the_source() -> None:
    plain = Document(text="ab", source="x")
    assert document_fingerprint(plain) == hashlib.sha256(b"ab").hexdigest()
    assert document_fingerprint(plain) == document_fingerprint(Document(text="ab", source="y"))
    others = [
        Document(text="ac", source="x"),
        Document(text="ab", source="x", completion_spans=((0, 1),)),
        Document(text="ab", source="x", completion_spans=((1, 2),)),
        Document(text="", source="x", messages=({"role": "user", "content": "ab"},)),
    ]
    assert len({document_fingerprint(d) for d in [plain, *others]}) == 5


def test_corpus_fingerprint_depends_on_order_and_boundaries() -> None:
    assert corpus_fingerprint(documents("a", "b")) == corpus_fingerprint(documents("a", "b"))
    assert corpus_fingerprint(documents("a", "b")) != corpus_fingerprint(documents("b", "a"))
    assert corpus_fingerprint(documents("ab")) != corpus_fingerprint(documents("a", "b"))


def test_limit_is_kept_and_nests() -> None:
    texts = tuple(chr(97 + i) * 10 for i in range(10))
    all_of = [d.text for d in Given(texts=texts).documents()]
    few, more = ([d.text for d in Given(texts=texts, limit_chars=n).documents()] for n in (35, 72))
    assert (len(few), len(more)) == (3, 7)
    assert set(few) < set(more) < set(all_of)
    assert more == [text for text in all_of if text in more]  # in the order of reading


def test_a_limit_below_the_first_document_keeps_one() -> None:
    assert len(list(Given(texts=("abc", "def"), limit_chars=1).documents())) == 1


def test_size_counts_messages() -> None:
    assert size_of(Document(text="", source="x", messages=({"role": "user", "content": "abc"},))) == 3


def test_reading_leaves_empty_documents_out_and_names_an_empty_corpus() -> None:
    assert [d.text for d in read_documents("notes", Given(texts=("", " \n", "a")))] == ["a"]
    with pytest.raises(DataError, match=r"^corpus 'notes' \(test_documents\) holds no text: give it"):
        read_documents("notes", Given(texts=("", "\n")))


def test_errors_of_a_corpus_carry_its_name() -> None:
    class Broken(Corpus):
        def documents(self) -> list[Document]:
            raise DataError("no such file")

    with pytest.raises(DataError, match=r"^corpus 'notes': no such file"):
        read_documents("notes", Broken())


def test_text_that_utf8_cannot_hold_is_refused() -> None:
    with pytest.raises(DataError, match=r"^corpus 'notes': d0: half a surrogate pair at character 1"):
        read_documents("notes", Given(texts=("a\ud800",)))
