"""A section with its figure is one file: it stands on the page in its place, and says what was not recorded."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ontogeny.report.figure import Figure
from ontogeny.report.page import write_report
from ontogeny.report.section import ROOM, all_sections
from ontogeny.store.run import Run
from ontogeny.store.run_group import RunGroup
from tests.architecture.planted import vocabulary
from tests.architecture.planted.planting import planted
from tests.report.hand_made import MakeRun

pytestmark = pytest.mark.slow  # they train models of their own


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    with planted(ROOM, "vocabulary"):
        yield


def part_of(page: str, section: str) -> str:
    """The HTML of a section."""
    return page.partition(f'<section id="{section}"')[2].partition('<section id="')[0]


@pytest.fixture
def small_run(make_run: MakeRun) -> Run:
    """One probe set of 2 passages of 2 tokens: ids 0, 1, 100 and 101."""
    return make_run({"train": [[[1.0, 2.0]] * 2] * 2})


def test_it_stands_in_its_place_with_content_and_figure(small_run: Run) -> None:
    page = write_report([small_run], live=True).read_text()
    ids = re.findall(r'<section id="(\w+)" class="part"', page)
    assert ids[ids.index("vocabulary") - 1 : ids.index("vocabulary") + 2] == ["curves", "vocabulary", "memorization"]
    assert '<a href="#vocabulary">Vocabulary</a>' in page
    part = part_of(page, "vocabulary")
    assert "Which tokens the probe sets hold." in part
    assert "<li>train: 4 tokens</li>" in part
    assert "<h3>Different tokens</h3>" in part
    match = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert match
    data = json.loads(match[1])
    (rows,) = data["charts"]["chart-vocabulary-distinct-tokens-0"]["datasets"].values()
    assert rows == [{"probe": "train", "distinct": 4}]
    assert data["vocabulary"] == 1


def test_its_measure_is_named_where_it_was_not_recorded(small_run: Run) -> None:
    part = part_of(write_report([small_run], live=True).read_text(), "vocabulary")
    assert "Ranks of tokens were not recorded. To add it from the saved checkpoints:" in part
    assert "--kind token_ranks</code>" in part


def test_nothing_is_missing_where_the_measure_was_recorded(make_run: MakeRun) -> None:
    run = make_run({"train": [[[1.0, 2.0]] * 2] * 2}, called={"token_nll": "token_ranks"}, kinds=False)
    assert "were not recorded" not in part_of(write_report([run], live=True).read_text(), "vocabulary")


def test_its_figure_is_written_beside_the_page(small_run: Run) -> None:
    assert (write_report([small_run]).parent / "figures" / "vocabulary-distinct-tokens.svg").is_file()


def test_a_module_without_a_section_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(vocabulary, "SECTION")
    with pytest.raises(TypeError, match="must define SECTION"):
        all_sections()


def test_a_figure_of_an_unknown_section_is_a_defect(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def misplaced(runs: RunGroup) -> Figure:
        figure = vocabulary.distinct_tokens(runs)
        assert figure is not None
        return replace(figure, section="vocabluary")

    monkeypatch.setattr("ontogeny.report.figure.discover", lambda: iter([("misplaced", misplaced)]))
    with pytest.raises(LookupError, match="figure misplaced: no section 'vocabluary': did you mean 'vocabulary'"):
        write_report([small_run], live=True)
