"""`ontogeny diagnose` as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ontogeny as package
from ontogeny.diagnosis.rule import all_rules
from tests.verbs.conftest import Call
from tests.verbs.logs import trainer_state


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return trainer_state(tmp_path / "good.json")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return trainer_state(tmp_path / "bad.json", overfits=True)


def test_a_healthy_log_says_that_nothing_was_found_and_what_was_looked_for(ontogeny: Call, good: Path) -> None:
    called = ontogeny("diagnose", good)
    assert (called.code, called.err) == (0, "")
    assert "nothing found" in called.out
    assert "rules clear" in called.out


def test_a_finding_has_a_sentence_a_curve_and_a_page_to_read(ontogeny: Call, bad: Path) -> None:
    called = ontogeny("diagnose", bad)
    assert called.code == 0
    assert "ERROR  The eval_loss rose" in called.out
    assert "▁" in called.out
    assert "docs/findings/overfitting.md" in called.out
    assert "remedy" not in called.out


def test_details_are_asked_for(ontogeny: Call, bad: Path) -> None:
    out = ontogeny("diagnose", bad, "-v").out
    for part in ("numbers:", "threshold:", "rests on:", "else:", "refuted by:", "remedy:", "not assessable:"):
        assert part in out


@pytest.mark.parametrize(("limit", "code"), [("error", 1), ("warning", 1), ("note", 1)])
def test_fail_on_ends_with_1_where_there_is_such_a_finding(ontogeny: Call, bad: Path, limit: str, code: int) -> None:
    assert ontogeny("diagnose", bad, "--fail-on", limit).code == code


def test_fail_on_ends_with_0_where_there_is_none(ontogeny: Call, good: Path) -> None:
    assert ontogeny("diagnose", good, "--fail-on", "warning").code == 0


def test_json_holds_every_verdict(ontogeny: Call, bad: Path) -> None:
    found = ontogeny("diagnose", bad, "--json").json()
    (overfitting,) = found["findings"]
    assert overfitting["rule"] == "overfitting"
    assert overfitting["severity"] == "error"
    assert overfitting["numbers"]["evaluations"] == 10
    assert len(found["clear"]) + len(found["not_assessable"]) + 1 == len(all_rules())


def test_json_is_json_where_values_are_not_finite(ontogeny: Call, tmp_path: Path) -> None:
    """Bare NaN is no JSON: a strict reader must be able to read it."""
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {s}, "loss": {"NaN" if s > 60 else 4 - s / 50}}}\n' for s in range(100)))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in the output")

    json.loads(ontogeny("diagnose", path, "--json").out, parse_constant=refuse)


def test_markdown(ontogeny: Call, bad: Path) -> None:
    out = ontogeny("diagnose", bad, "--markdown").out
    assert out.startswith("### ")
    assert "| error |" in out
    assert "[`overfitting`](docs/findings/overfitting.md)" in out


def test_only_some_rules(ontogeny: Call, bad: Path) -> None:
    found = ontogeny("diagnose", bad, "--only", "overfitting", "--json").json()
    assert ([one["rule"] for one in found["findings"]], found["clear"]) == (["overfitting"], [])
    family = ontogeny("diagnose", bad, "--only", "numerics", "--json").json()
    judged = {*family["clear"], *family["not_assessable"]}
    assert judged == {rule.id for rule in all_rules() if rule.family == "numerics"}


def test_a_rule_that_is_not_there_names_the_closest(ontogeny: Call, bad: Path) -> None:
    called = ontogeny("diagnose", bad, "--only", "overfiting")
    assert called.code == 2
    assert "overfitting" in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--fail-on", "fatal"], "write one of error, warning, note"), (["--map", "loss"], "write OURS=THEIRS")],
)
def test_wrong_options_are_one_line(ontogeny: Call, bad: Path, arguments: list[str], said: str) -> None:
    called = ontogeny("diagnose", bad, *arguments)
    assert called.code == 2
    assert said in called.err
    assert called.err.count("\n") == 1


def test_columns_of_ones_own(ontogeny: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("t,obj\n" + "".join(f"{i},{'nan' if i > 50 else 3 - i / 100}\n" for i in range(100)))
    called = ontogeny("diagnose", path, "--map", "step=t", "--map", "loss=obj", "--fail-on", "error")
    assert called.code == 1
    assert "obj" in called.out


def test_a_directory_of_many(ontogeny: Call, good: Path, bad: Path) -> None:
    (good.parent / "notes.txt").write_text("Nothing of a log in here, just words.\n")
    called = ontogeny("diagnose", good.parent, "--fail-on", "error")
    assert called.code == 1
    assert "2 logs: 1 with errors or worse" in called.out
    assert "1 not read" in called.out
    assert "NOT READ" in called.out


def test_what_is_no_log_is_one_line(ontogeny: Call, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Nothing of a log in here, just words.\n")
    called = ontogeny("diagnose", path)
    assert called.code == 2
    assert "--map" in called.err
    assert "Traceback" not in called.err


@pytest.mark.parametrize("missing", ["nowhere.json", "nowhere/"])
def test_a_missing_file_is_one_line(ontogeny: Call, tmp_path: Path, missing: str) -> None:
    called = ontogeny("diagnose", tmp_path / missing)
    assert called.code == 2
    assert "no such file" in called.err


def test_a_page_is_written_on_request(ontogeny: Call, bad: Path, tmp_path: Path) -> None:
    called = ontogeny("diagnose", bad, "--to", tmp_path / "page.html")
    assert "page:" in called.out
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_rules_are_listed_with_what_they_need(ontogeny: Call) -> None:
    out = ontogeny("diagnose", "--rules").out
    assert "GENERALISATION" in out
    assert "overfitting: " in out
    assert "needs " in out


def test_from_python(bad: Path) -> None:
    examination = package.diagnose(bad)
    assert [one.rule for one in examination.findings] == ["overfitting"]


def test_nothing_heavy_is_imported(bad: Path) -> None:
    """What makes starting slow, or is not there in a plain installation. (pydantic comes with the command line.)"""
    code = (
        "import sys\nfrom ontogeny.cli import main\n"
        f"try:\n    main(['diagnose', {str(bad)!r}])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'scipy', 'altair', 'xarray', 'zarr'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "overfitting" in done.stdout
