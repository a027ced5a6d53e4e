from ontogeny.data.grams import GRAM_WORDS, grams_of, words_of


def grams(*texts: str) -> tuple[list[int], list[int]]:
    words = [words_of(text) for text in texts]
    hashes, starts = grams_of([w for found in words for w in found], [len(found) for found in words])
    return hashes.tolist(), starts.tolist()


def numbered(first: int, count: int) -> str:
    return " ".join(f"w{i}" for i in range(first, first + count))


def test_words_ignore_case_and_punctuation() -> None:
    assert words_of("Don't  PANIC: x_1 = naïve!") == ["don", "t", "panic", "x_1", "naïve"]


def test_scripts_without_spaces_give_a_word_a_character() -> None:
    assert words_of("東京 city 한국 ไท") == ["東", "京", "city", "한국", "ไ", "ท"]


def test_one_gram_for_each_run_of_13_words_within_a_text() -> None:
    # 14 words: 2 runs, at 0 and 1. 12 words: none. 13 words: 1, at 14 + 12 = 26.
    hashes, starts = grams(numbered(0, 14), numbered(50, 12), numbered(90, 13))
    assert GRAM_WORDS == 13
    assert starts == [0, 1, 26]
    assert len(set(hashes)) == 3


def test_equal_runs_have_equal_hashes_and_order_matters() -> None:
    first, second = grams(numbered(0, 13), numbered(0, 13).upper())[0]
    assert first == second
    words = numbered(0, 13).split()
    for i in range(12):
        swapped = [*words[:i], words[i + 1], words[i], *words[i + 2 :]]
        assert grams(" ".join(swapped))[0] != [first]


def test_too_few_words() -> None:
    assert grams("") == grams("one two") == ([], [])
