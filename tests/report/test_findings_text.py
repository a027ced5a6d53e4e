"""A diagnosis in words."""

from pathlib import Path

from ontogeny.diagnosis.examine import examine
from ontogeny.integrations.importing import read_history
from ontogeny.report import findings_text
from tests.verbs.logs import trainer_state


def test_terminal_text_without_colours_has_no_markup(tmp_path: Path) -> None:
    text = findings_text.terminal(
        examine(read_history(trainer_state(tmp_path / "log", overfits=True))), verbose=True, colour=False
    )
    assert "[/" not in text
    assert "\x1b" not in text


def test_brackets_of_a_log_are_no_markup(tmp_path: Path) -> None:
    """A path such as `[red]` must come out as it is, and not colour the terminal or break it."""
    from rich.text import Text

    path = trainer_state(tmp_path / "[red]log[", overfits=True)
    text = findings_text.terminal(examine(read_history(path)), verbose=True, colour=True)
    assert "[red]log[" in Text.from_markup(text).plain


def test_markdown_cannot_be_broken_by_a_label(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss|x\n" + "".join(f"{i},{'nan' if i > 50 else 3 - i / 100}\n" for i in range(100)))
    table = findings_text.markdown([examine(read_history(path, {"loss": "loss|x"}))]).splitlines()
    rows = [line for line in table if line.startswith("| ")]
    assert len(rows) >= 2
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
