import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.report.page import write_report
from ontogeny.store.run import Run, open_run
from ontogeny.store.writer import RunWriter
from tests.report import synthetic
from tests.report.hand_made import MakeRun
from tests.store.test_run_group import write_metrics

NAN = float("nan")


def data_of(page: str) -> dict[str, object]:
    """The numbers that the page's scripts read."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_a_page_and_everything_beside_it(run: Run, tmp_path: Path) -> None:
    path = write_report([run], tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    beside = {one.relative_to(path.parent).as_posix() for one in path.parent.rglob("*") if one.is_file()}
    assert {"report.html", "report.txt", "summary.csv", "figures/loss-probe-loss.svg"} <= beside
    assert {"figures/loss-probe-loss.png", "figures/drift-drift-by-block-from-the-first-checkpoint.svg"} <= beside
    assert not [name for name in beside if "tmp" in name]


@pytest.mark.slow
def test_of_many_runs_what_is_said_of_each_is_folded(run: Run, tmp_path: Path) -> None:
    few, many = (write_report([run] * n, tmp_path / f"{n}.html", live=True).read_text() for n in (2, 7))
    origins = [page[page.index('id="origin"') :] for page in (few, many)]
    assert [origin.count(f"<summary>{run.path.name}") for origin in origins] == [0, 7]


def test_nothing_is_loaded_from_anywhere(run: Run, tmp_path: Path) -> None:
    page = write_report([run], tmp_path, live=True).read_text()
    outside_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", outside_scripts)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in outside_scripts


def test_every_script_and_style_of_the_page_is_named_by_its_hash_and_nothing_else(run: Run, tmp_path: Path) -> None:
    page = write_report([run], tmp_path / "page.html").read_text()
    head = page[: page.index("<title>")]
    for tag, attributes, text in re.findall(r"<(script|style)([^>]*)>(.*?)</(?:script|style)>", page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert ("type=" in attributes) != (f"'sha256-{digest}'" in head), tag
    assert "unsafe" not in head
    assert " style=" not in page.partition('<script type="application/json"')[0]


def test_the_page_of_a_demo_stays_small(tmp_path: Path) -> None:
    """Noise at every token, rank and entropy of 25 checkpoints, 3 x 48 passages of 128 tokens: it hardly compresses."""
    draw = np.random.default_rng(0)
    sets = {name: ProbeSet(name=name, passages=words(name)) for name in ("train", "novel", "general")}
    with RunWriter.create(tmp_path / "run", recipe_yaml="", recipe=synthetic.RECIPE, provenance={}) as writer:
        for one in sets.values():
            writer.put_probes(one)
        for step in range(25):
            noise = {name: draw.gamma(1, 3, sum(map(len, one.passages))) for name, one in sets.items()}
            ranks = {name: draw.integers(0, 2048, sum(map(len, one.passages))) for name, one in sets.items()}
            writer.put_measure("token_nll", synthetic.place(step), synthetic.token_nll(sets, noise, ranks, noise))
    page = write_report([open_run(tmp_path / "run")], live=True)
    assert page.stat().st_size < 5e6


def words(name: str) -> list[Passage]:
    """48 passages of 128 tokens."""
    made = [synthetic.passage(f"{name} {i} " * 70, f"c:{name}{i}#0") for i in range(48)]
    return [synthetic.shortened(one, 128) for one in made]


@pytest.mark.slow
def test_only_a_live_page_reloads(run: Run, tmp_path: Path) -> None:
    live = write_report([run], tmp_path / "live", live=True)
    assert data_of(live.read_text())["reloadSeconds"] == 6
    assert 'id="live"' in live.read_text()
    assert [one.name for one in live.parent.iterdir()] == ["report.html"]
    final = write_report([run], tmp_path / "final").read_text()
    assert data_of(final)["reloadSeconds"] == 0
    assert 'id="live"' not in final


def test_what_is_missing_is_named_with_the_way_to_add_it(make_run: MakeRun) -> None:
    run = make_run({"train": [[[NAN, 1.0]] * 2] * 2})
    page = write_report([run], live=True).read_text()
    for kind in ("evaluation", "extraction", "cloze", "continuation", "weight_drift", "gradient_norms", "generation"):
        assert f"/hand --kind {kind}</code>" in page
    assert "--kind token_nll</code>" not in page


def test_a_run_that_recorded_nothing(tmp_path: Path) -> None:
    page = write_report([write_metrics(tmp_path / "run", [])]).read_text()
    assert "has recorded no numbers yet" in page
    assert "What it learned is not known" in page


def test_a_run_that_failed_says_so(make_run: MakeRun) -> None:
    run = make_run({"train": [[[NAN, 1.0]] * 2, [[NAN, NAN]] * 2]})
    with RunWriter.attach(run.path) as writer:
        writer.add_metric(0, "loss", "train", NAN)
        writer.set_status(state="failed", step=10, message="step 10: the loss is nan")
    page = write_report([open_run(run.path)], live=True).read_text()
    assert "hand failed at step 10. step 10: the loss is nan" in page
    assert "is not a number at step 10" in page
    assert "NaN" not in json.dumps(data_of(page))


def test_text_cannot_leave_its_place(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><b>"
    with RunWriter.create(
        tmp_path / "run", recipe_yaml=evil, recipe={"name": "x", "about": evil}, provenance={}
    ) as writer:
        row = {"probe": "a", "passage_id": 0, "decoding": "greedy", "draw": 0, "ended": True}
        writer.add_samples(0, "generation", [{**row, "text": evil, "prompt": evil}])
    page = write_report([open_run(tmp_path / "run")], live=True).read_text()
    assert "alert(1)</script>" not in page
    samples = data_of(page)["samples"]
    assert evil in json.dumps(samples)


def test_findings_stand_on_the_page(make_run: MakeRun) -> None:
    run = make_run({"train": [[[NAN, 1.0]] * 2] * 2})
    points = {"scope": "novel", "name": "loss", "label": "held <out>", "rows": [1, 9], "steps": [10, 2000]}
    found = {
        "rule": "overfitting",
        "verdict": "finding",
        "severity": "warning",
        "statement": "it overfits",
        "numbers": {"best_step": 10, "rise": 0.53219},
        "evidence": [{**points, "values": [4.25, 6.5]}],
        "remedy": "stop earlier",
    }
    clear = {"rule": "spike", "verdict": "clear", "numbers": {}}
    (run.path / "findings.json").write_text(json.dumps([found, clear]))
    page = write_report([open_run(run.path)], live=True).read_text()
    assert "It overfits." in page
    assert "held &lt;out&gt;: 4.25 at step 10, 6.5 at step 2,000" in page
    assert "best step 10, rise 0.5322" in page
    assert "What to do: stop earlier." in page
    assert "1 rules were clear" in page


def test_several_runs_are_laid_over_each_other(make_run: MakeRun) -> None:
    table = {"train": [[[NAN, 5.0]] * 3, [[NAN, 1.0]] * 3]}
    settings = [{"checkpoints": {"every_steps": n}} for n in (1, 2)]
    runs = [make_run(table, f"{i}-{seed}", seed=seed, recipe=one) for i, one in enumerate(settings) for seed in (0, 1)]
    path = write_report(runs, live=True)
    assert path.parent.parent == runs[0].path.parent
    assert re.fullmatch(r"comparison-[0-9a-f]{8}/report.html", f"{path.parent.name}/{path.name}")
    page = path.read_text()
    assert page.count('class="reader-data"') == 2
    assert "every_steps 1" in page
    assert "2 seeds" in page


def test_no_run_is_an_error() -> None:
    with pytest.raises(OntogenyError, match="name at least one run"):
        write_report([])
