"""Headline, figures, captions, analyses and findings of one page give the same numbers: they read one estimate."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontogeny.core.passages import document_of
from ontogeny.report.comparison_table import comparison_table
from ontogeny.report.figure import Figure, draw_all
from ontogeny.report.loss_changes import LossChange, accuracy_changes, loss_change
from ontogeny.report.page import render
from ontogeny.report.sentences import sentences, signed
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.verbs.analyze import analyze
from ontogeny.verbs.diagnose import diagnose_run
from tests.report import synthetic

MEASURES = ("evaluation", "extraction", "cloze")
"""No `token_nll`: all that is paired comes from `evaluation`."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that one page says."""

    run: Run
    group: RunGroup
    figures: Mapping[str, Figure]
    text: str


def page_of(path: Path, **settings: Any) -> Page:
    synthetic.write_run(path, checkpoints=13, count=24, length=40, groups=MEASURES, **settings)
    analyze(path, ["forgetting", "collapse"], [])
    diagnose_run(path)
    group = RunGroup([open_run(path)])
    figures = draw_all(group)
    text = html.unescape(re.sub("<[^>]+>", "", render(group, figures, live=False)))
    return Page(run=open_run(path), group=group, figures=figures, text=text)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """As an earlier version recorded it: means of probe sets alone."""
    return page_of(tmp_path_factory.mktemp("old") / "run", by_passage=False)


def change_of(page: Page, probe: str) -> LossChange:
    change = loss_change(page.group.bands[0], probe)
    assert change is not None
    return change


def rows_of(figure: Figure, panel: str) -> list[dict[str, Any]]:
    (table,) = figure.panels[panel].to_dict()["datasets"].values()
    return list(table)


def independently(page: Page, probe: str) -> tuple[float, float, float]:
    """Value and ends from the stored arrays: a ratio of sums, the jackknife over documents, t of scipy."""
    from scipy import stats

    data = page.run.measure("evaluation")
    inside = data["probe_of_passage"].values == probe
    nats, tokens = data["passage_nll_nats"].values[:, inside], data["scored_tokens"].values[inside].astype(float)
    names = np.array([document_of(passage.source) for passage in page.run.probes[probe].passages])
    rise = nats[-1] - nats[0]
    without = [rise[names != name].sum() / tokens[names != name].sum() for name in dict.fromkeys(names.tolist())]
    n = len(without)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) * np.var(without))
    value = rise.sum() / tokens.sum()
    return float(value), float(value - half), float(value + half)


@pytest.mark.parametrize("probe", ["train", "novel", "general"])
def test_the_headline_is_the_analysis(page: Page, probe: str) -> None:
    change = change_of(page, probe)
    stored = page.run.analyses["forgetting"]["numbers"]["sets"][f"{probe}: loss"]
    ends = [getattr(change.difference, key) for key in ("value", "low", "high")]
    assert [stored["since_first"][key] for key in ("value", "low", "high")] == ends
    assert ends == pytest.approx(independently(page, probe))
    assert (stored["n"], stored["documents"]) == (24, change.difference.n)
    assert change.difference.basis == stored["basis"]
    assert change.difference.paired
    if change.rise is not None:  # the loss of novel text turns
        assert stored["since_best"]["value"] == change.rise.value
    small = " ".join(sentence.small for sentence in sentences(page.group.bands[0]))
    shown = f"{probe} {signed(ends[0])} ({signed(ends[1])} to {signed(ends[2])}; {stored['basis']})"
    assert shown in small
    assert shown in page.text  # as the reader sees it
    (line,) = [line for line in page.run.analyses["forgetting"]["sentences"] if line.startswith(f"{probe}: loss")]
    assert f"{ends[0]:+.3f} (95% {ends[1]:+.3f} to {ends[2]:+.3f})" in line
    assert line.endswith(stored["basis"])


@pytest.mark.parametrize("probe", ["train", "novel", "general"])
def test_the_figures_draw_it_and_their_captions_say_what_they_draw(page: Page, probe: str) -> None:
    change = change_of(page, probe)
    ends = [getattr(change.difference, key) for key in ("value", "low", "high")]
    since = page.figures["forgetting-since-the-start"]
    last = [row for row in rows_of(since, f"{probe}: loss") if row["of"] == "mean"][-1]
    assert [last[key] for key in ("value", "low", "high")] == pytest.approx(ends, rel=1e-3)
    assert f"{probe}: loss {change.difference.basis}" in since.caption
    assert "over documents, paired" in since.caption
    losses = page.figures["loss-probe-loss"]
    (drawn,) = losses.chart.to_dict()["datasets"].values()  # type: ignore[union-attr]
    at_end = next(row for row in drawn if (row["scope"], row["step"]) == (probe, change.last_step))
    assert at_end["value"] == pytest.approx(change.last, rel=1e-4)
    assert at_end["low"] < change.last < at_end["high"]
    assert f"{probe} {change.difference.basis}" in losses.caption
    assert "t intervals of the level over documents" in losses.caption
    assert "independent" not in losses.caption


def test_general_ability_at_the_end_is_the_same_too(page: Page) -> None:
    change = change_of(page, "general")
    figure = page.figures["collapse-at-the-end"]
    (row,) = [row for row in rows_of(figure, "nats per token") if row["number"] == "general: loss"]
    assert row["value"] == pytest.approx(change.difference.value, rel=1e-3)
    assert row["low"] == pytest.approx(change.difference.low, rel=1e-3)
    assert f"general: loss {change.difference.basis}" in figure.caption
    (task,) = accuracy_changes(page.group.bands[0], "general")
    (row,) = [row for row in rows_of(figure, "share") if row["number"] == "general: accuracy of last words"]
    assert row["value"] == pytest.approx(task.difference.value, rel=1e-3, abs=1e-9)
    assert f"general: accuracy of last words {task.difference.basis}" in figure.caption


def test_the_finding_has_the_losses_of_the_headline(page: Page) -> None:
    change = change_of(page, "general")
    (finding,) = [finding for finding in page.run.findings if finding["rule"] == "forgetting"]
    assert finding["verdict"] == "finding"
    share = change.last / change.first - 1
    assert f"rises from {change.first:.4g} to {change.last:.4g} (+{share:.0%})" in finding["statement"]
    (forgot,) = [sentence for sentence in sentences(page.group.bands[0]) if sentence.about == "forgot"]
    assert f"rose from {change.first:.2f} to {change.last:.2f}" in forgot.text
    novel = change_of(page, "novel")
    (turn,) = [finding for finding in page.run.findings if finding["rule"] == "overfitting"]
    assert [turn["numbers"][key] for key in ("best", "last")] == pytest.approx([novel.lowest, novel.last], rel=1e-5)
    assert turn["numbers"]["best_step"] == novel.lowest_step


def test_the_table_of_a_comparison_has_the_same_numbers(page: Page, tmp_path: Path) -> None:
    other = synthetic.write_run(
        tmp_path / "other", checkpoints=13, count=24, length=40, groups=MEASURES, recipe={"train": {"lr": 0.5}}
    )
    table = comparison_table(RunGroup([page.run, other]))
    assert table is not None
    for probe in ("train", "novel", "general"):
        difference = change_of(page, probe).difference
        _, small = table.rows[0][2][table.columns.index(f"{probe}, loss")]
        ends = f"{signed(difference.low)} to {signed(difference.high)}"
        assert small == f"{signed(difference.value)} ({ends}; {difference.basis})"


def test_shares_count_documents(page: Page) -> None:
    figure = page.figures["memorization-extraction"]
    assert "count each document as one observation" in figure.caption
    documents = len({document_of(passage.source) for passage in page.run.probes["train"].passages})
    assert documents < 24
    assert f"train 24 passages from {documents} documents" in figure.caption
    (memorized,) = [sentence for sentence in sentences(page.group.bands[0]) if sentence.about == "memorized"]
    assert f"of 24 passages from {documents} documents" in memorized.small


@pytest.mark.slow
def test_means_alone_are_not_paired_and_say_so(old: Page) -> None:
    change = change_of(old, "general")
    assert change.difference.how == "intervals from standard errors, not paired"
    assert "not paired" in old.text
    stored = old.run.analyses["forgetting"]
    assert stored["verdict"].endswith("; not assessable: novel: loss, general: loss")  # only last words were tested
    assert stored["numbers"]["sets"]["general: loss"]["since_first"]["value"] == pytest.approx(change.difference.value)
    assert "passages counted as independent" in old.figures["loss-probe-loss"].caption
    assert "Only means are known" not in old.figures["forgetting-since-the-start"].caption  # the last words are paired
    assert "general: loss" not in old.figures["forgetting-since-the-start"].caption
    assert json.dumps(stored, default=str).count("from 1 document") == 0
