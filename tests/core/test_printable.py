"""Names and logs can neither steer a terminal nor run in a spreadsheet."""

import pytest

from ontogeny.core.printable import cell, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),  # colour, bell
        ("a\rb\x00\x7f", "a\\rb\\x00\\x7f"),
        ("\x9b2J", "\\x9b2J"),  # the one-byte CSI: clears the screen
        ("user\u202egnp.exe", "user\\u202egnp.exe"),  # turns the direction
        ("a\u2028b\u2066c\ufeff", "a\\u2028b\\u2066c\\ufeff"),
        ("bad\udcff.log", "bad\\udcff.log"),  # a byte of a file name that is no UTF-8
        ("two\tcells\nand lines", "two\tcells\nand lines"),
        ("naïve 中文 🙂 \\x1b", "naïve 中文 🙂 \\x1b"),
        ("", ""),
    ],
)
def test_controls_are_escaped_and_text_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_stays_on_its_line() -> None:
    assert one_line("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"
    assert one_line("runs/é-1") == "runs/é-1"


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "=", "- a list"])
def test_what_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1.5", "+3e-4", "-inf", "a=b", "", "'=1", "the", "1-2", " =1"])
def test_numbers_and_other_text_stay(text: str) -> None:
    assert cell(text) == text
