"""The command line as a user meets it: verbs, JSON, one-line errors and exit codes."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ontogeny.cli import main
from ontogeny.core.recipe_file import load_recipe
from ontogeny.core.yaml_tree import read_yaml, write_yaml
from ontogeny.store.run import open_run
from ontogeny.verbs.train import recipe_for_text
from tests.small_runs import write_text

RECIPE = """
name: tiny
data:
  corpora:
    words: {{kind: text, path: "{texts}"}}
  splits: {{train: 0.7, novel: 0.3}}
  length: 24
  min_length: 8
  train:
    - {{of: words/train}}
  probes:
    train: {{of: words/train, at_most: 6}}
    novel: {{of: words/novel, at_most: 6}}
  allow_overlap: true
tokenizer: {{vocab_size: 300}}
model: {{kind: ladder, size: pico}}
train: {{steps: 6, batch: 6, lr: 0.01}}
checkpoints: {{every_steps: 3}}
measures: [evaluation, token_nll]
"""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_text(folder / "words")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(texts=folder / "words" / "*.txt"))
    return path


@pytest.fixture(scope="module")
def run(recipe_file: Path) -> Path:
    with pytest.raises(SystemExit):
        main(["run", str(recipe_file), "--runs", str(recipe_file.parent / "runs"), "--quiet"])
    return next((recipe_file.parent / "runs").glob("tiny-*"))


def test_run_leaves_a_finished_run_with_its_page(run: Path) -> None:
    assert open_run(run).status["state"] == "finished"
    for name in ("report.html", "report.txt", "summary.csv"):
        assert (run / name).stat().st_size > 0
    assert list((run / "figures").glob("*.svg"))
    assert list((run / "figures").glob("*.png"))


def test_run_again_returns_the_same_run_and_says_what_it_found(run: Path, recipe_file: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    called = ontogeny("run", recipe_file, "--runs", run.parent, "--json")
    assert called.code == 0
    found = called.json()
    assert found["run"] == str(run)
    assert found["state"] == "finished"
    assert set(found["nll"]) == {"train", "novel"}
    assert found["headline"].count("\n") == 2, "three sentences"


def test_overrides_make_another_run(run: Path, recipe_file: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    called = ontogeny(
        "run", recipe_file, "train.seed=1", "train.steps=2", "measures=[]", "--runs", run.parent, "--json"
    )
    other = Path(called.json()["run"])
    assert other != run
    assert load_recipe(other / "recipe.yaml").train.seed == 1
    assert open_run(other).status["step"] == 2


@pytest.mark.slow
def test_a_recipe_that_extends_a_shipped_one_is_run(recipe_file: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "own.yaml"
    own.write_text(f"""\
extends: demo_base
name: own
data:
  corpora: {{code: {{kind: text, path: "{recipe_file.parent / "words" / "*.txt"}"}}, prose: null}}
  probes: {{code: {{count: 2}}, prose: null}}
tokenizer: {{vocab_size: 300, corpora: null}}
model: {{size: pico}}
train: {{steps: 2, batch: 2}}
checkpoints: {{steps: [2]}}
""")
    called = ontogeny("run", own, "train.seed=1", "--runs", tmp_path, "--quiet", "--json")
    assert called.code == 0, called.err
    run = Path(called.json()["run"])
    kept = read_yaml((run / "recipe.yaml").read_text(), "")[0]
    assert "extends" not in kept
    assert kept["train"] == {
        "seed": 1,
        "steps": 2,
        "batch": 2,
        "lr": {"shape": "cosine", "value": 0.01, "warmup": 0.05, "final": 0.1},  # of demo_base
    }
    assert run.name == f"own-{load_recipe(run / 'recipe.yaml').recipe_hash[:8]}"
    assert list(open_run(run).probes) == ["code"]
    # the run is found again by its content
    assert ontogeny("run", own, "train.seed=1", "--runs", tmp_path, "--json").json()["run"] == str(run)


def test_list_and_json(run: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    listed = ontogeny("list", "--runs", run.parent, "--json").json()
    assert str(run) in [row["run"] for row in listed["runs"]]
    assert {"demo", "demo_base"} <= set(listed["recipes"])
    assert run.name in ontogeny("list", "--runs", run.parent).out
    assert "begin with  ontogeny demo" in ontogeny("list", "--runs", run / "nowhere").out


@pytest.mark.slow
def test_measure_looks_afterwards(run: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    called = ontogeny("measure", run, "prefix_tokens=4", "suffix_tokens=4", "--kind", "extraction", "--quiet", "--json")
    assert called.code == 0, called.err
    assert open_run(run).measure("extraction")["step"].values.tolist() == [0, 3, 6]


@pytest.mark.slow
def test_resume_extends(run: Path, recipe_file: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    first = ontogeny("run", recipe_file, "train.steps=3", "--runs", run.parent, "--quiet", "--json").json()["run"]
    assert ontogeny("resume", first, "--steps", 5, "--quiet").code == 0
    assert open_run(first).status["step"] == 5


@pytest.mark.slow
def test_export_and_report(run: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    written = ontogeny("export", run, "--format", "csv", "--to", tmp_path / "tables", "--json").json()["written"]
    metrics = pd.read_csv(next(path for path in written if Path(path).name == "metrics.csv"))
    assert len(metrics) == len(open_run(run).metrics)
    page = ontogeny("report", run, run, "--to", tmp_path / "both.html", "--json")
    assert page.code == 0
    assert (tmp_path / "both.html").exists()


def test_plan_says_time_disk_and_memory_and_writes_nothing(recipe_file: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    called = ontogeny("run", recipe_file, "--runs", tmp_path / "none", "--plan", "--json")
    found = called.json()
    assert found["steps"] == 6
    assert {"time", "disk", "memory"} <= set(found)
    # checkpoints at 0, 3 and 6
    assert "3 checkpoints" in found["disk"]
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_text_without_a_recipe_writes_the_recipe_it_used(recipe_file: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    texts = [argument for path in sorted((recipe_file.parent / "words").iterdir()) for argument in ("--text", path)]
    shorter = ("data.length=24", "train.epochs=0.5", "tokenizer.vocab_size=300", "data.allow_overlap=true")
    called = ontogeny("run", *shorter, *texts, "--runs", tmp_path, "--quiet", "--json")
    assert called.code == 0, called.err
    recipe = load_recipe(Path(called.json()["run"]) / "recipe.yaml")
    assert recipe.data.length == 24
    assert set(recipe.data.probes) == {"train", "novel", "general"}


@pytest.mark.slow
def test_measure_checkpoints_made_elsewhere(run: Path, recipe_file: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run / "tokenizer")
    for checkpoint in open_run(run).checkpoints:
        folder = tmp_path / "theirs" / f"checkpoint-{checkpoint.step}"
        AutoModelForCausalLM.from_pretrained(checkpoint.model_path).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    text = next((recipe_file.parent / "words").iterdir())
    spec = f"{tmp_path / 'theirs'}@checkpoint-0,checkpoint-6"
    called = ontogeny(
        "measure",
        "data.length=24",
        "--checkpoints",
        spec,
        "--probe",
        f"mine={text}",
        "--to",
        tmp_path / "series",
        "--quiet",
        "--json",
    )
    assert called.code == 0, called.err
    series = open_run(tmp_path / "series")
    assert series.measure("token_nll")["step"].values.tolist() == [0, 6]
    hashes = {c.step: c.place.weights_sha256 for c in open_run(run).checkpoints}
    assert series.measure("token_nll")["weights_sha256"].values.tolist() == [hashes[0], hashes[6]]
    assert (tmp_path / "series" / "report.html").exists()


@pytest.mark.slow
def test_settings_of_several_kinds_say_whose_they_are(run: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    kinds = ("--kind", "extraction", "--kind", "weight_drift")
    own = ("extraction.prefix_tokens=5", "extraction.suffix_tokens=3", "extraction.name=short")
    called = ontogeny("measure", run, *own, *kinds, "--at", 6, "--quiet", "--json")
    assert called.code == 0, called.err
    looked = open_run(run).provenance["backfills"][-1]["measures"]
    assert [(m["kind"], m.get("prefix_tokens")) for m in looked] == [("extraction", 5), ("weight_drift", None)]


def test_a_length_of_ones_own_replaces_the_length_of_text(recipe_file: Path) -> None:
    texts = sorted((recipe_file.parent / "words").iterdir())
    train = recipe_for_text(texts, None, ["train.steps=5"]).train
    assert train is not None
    assert (train.steps, train.epochs) == (5, None)


@pytest.mark.slow
def test_a_run_without_probe_sets_is_not_looked_at_with_them(recipe_file: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    blind = tmp_path / "blind.yaml"
    tree = read_yaml(recipe_file.read_text(), "")[0]
    del tree["data"]["probes"]
    blind.write_text(write_yaml(tree | {"measures": ["weight_drift"], "train": {"steps": 1}}))
    run = ontogeny("run", blind, "--runs", tmp_path, "--quiet", "--json").json()["run"]
    called = ontogeny("measure", run, "--kind", "token_nll")
    assert called.code == 2
    assert "'token_nll' looks at probe sets, and the run has none" in called.err


@pytest.mark.slow
def test_a_resumed_run_can_be_tracked(recipe_file: Path, tmp_path: Path, ontogeny, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    first = ontogeny("run", recipe_file, "train.steps=2", "--runs", tmp_path, "--quiet", "--json").json()["run"]
    monkeypatch.chdir(tmp_path)
    called = ontogeny("resume", first, "--steps", 3, "--track", "tensorboard", "--quiet")
    assert called.code == 0, called.err
    assert list((tmp_path / "tracking").rglob("events.out*"))


def test_help_and_version_end_well(ontogeny) -> None:  # type: ignore[no-untyped-def]
    for arguments in ((), ("--help",), ("run", "-h")):
        called = ontogeny(*arguments)
        assert (called.code, called.err) == (0, "")
        assert "Usage" in called.out
    assert ontogeny("--version").out.startswith("ontogeny ")


WRONG = {
    "unknown recipe": (["run", "demoo"], "did you mean 'demo'"),
    "no recipe": (["run"], "name a recipe"),
    "unknown recipe to extend": (["run", "{extending}"], "line 1, key 'extends': no recipe 'demoo', neither shipped"),
    "typo in an override": (["run", "{recipe}", "train.lrr=1"], "did you mean 'lr'"),
    "missing text": (["run", "--text", "nowhere.txt"], "no such file"),
    "missing model": (["run", "--text", "{recipe}", "--model", "./nowhere"], "no such directory"),
    "not a run": (["resume", "nowhere"], "nowhere"),
    "unknown kind": (["measure", "{run}", "--kind", "token_nl"], "did you mean 'token_nll'"),
    "no kind": (["measure", "{run}"], "say which measure"),
    "no such step": (["measure", "{run}", "--kind", "cloze", "--at", "5"], "no checkpoint at step 5"),
    "unknown schema": (["schema", "token_nl"], "did you mean 'token_nll'"),
    "shorter than it is": (["resume", "{run}", "--steps", "2"], "must be more"),
    "unknown verb": (["runn"], "Did you mean 'run'"),
    "no verb": (["--quiet"], "--quiet"),
    "unknown option": (["run", "--plann"], "--plan"),
    "missing argument": (["resume"], "missing argument 'RUN' (see  ontogeny resume --help"),
    "not a number": (["measure", "{run}", "--kind", "cloze", "--at", "abc"], "invalid value for '--at'"),
    "one kind twice": (["measure", "{run}", "--kind", "cloze", "--kind", "cloze"], "--kind cloze stands twice"),
    "whose setting": (
        ["measure", "{run}", "prefix_tokens=8", "--kind", "extraction", "--kind", "cloze"],
        "prefix_tokens=8: say whose setting it is, for instance extraction.prefix_tokens=8",
    ),
    "unknown tracker": (["resume", "{run}", "--track", "abacus"], "--track abacus"),
    "no such sub-directory": (["measure", "--checkpoints", "{run}@step1"], "no such checkpoint directory: known:"),
    "unknown format": (["export", "{run}", "--format", "xls"], "csv"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_exit_code_2(
    case: str, run: Path, recipe_file: Path, tmp_path: Path, ontogeny
) -> None:  # type: ignore[no-untyped-def]
    arguments, message = WRONG[case]
    extending = tmp_path / "extending.yaml"
    extending.write_text("extends: demoo\n")
    given = [argument.format(run=run, recipe=recipe_file, extending=extending) for argument in arguments]
    where = ["--runs", run.parent] if given[0] in ("run", "measure") else []
    called = ontogeny(*given, *where)
    assert called.code == 2, called.err
    assert message in called.err
    assert called.err.startswith("ontogeny: ")
    assert called.err.count("\n") == 1
    assert "Traceback" not in called.err


def test_debug_shows_the_traceback() -> None:
    from ontogeny.core.errors import RecipeError

    with pytest.raises(RecipeError):
        main(["run", "demoo", "--debug"])


def test_a_failed_run_exits_with_3_and_its_page_is_there(recipe_file: Path, tmp_path: Path, ontogeny) -> None:  # type: ignore[no-untyped-def]
    called = ontogeny(
        "run", recipe_file, "train.lr=1e30", "train.clip=null", "train.steps=20", "--runs", tmp_path, "--quiet"
    )
    assert called.code == 3
    assert "last good checkpoint" in called.err
    run = next(tmp_path.glob("tiny-*"))
    assert open_run(run).status["state"] == "failed"
    assert (run / "report.html").exists()


def test_schema_is_json_and_knows_every_kind(ontogeny) -> None:  # type: ignore[no-untyped-def]
    from ontogeny.core.kinds import kinds_of

    whole = ontogeny("schema").out
    json.loads(whole)
    assert all(f'"{kind}"' in whole for kind in kinds_of("ontogeny.measures"))
    assert "batch" not in ontogeny("schema", "token_nll").json()["properties"]


def test_help_has_examples_for_every_verb(ontogeny) -> None:  # type: ignore[no-untyped-def]
    for verb in ("demo", "run", "resume", "measure", "report", "export", "list", "schema"):
        assert "Example" in ontogeny(verb, "--help").out
