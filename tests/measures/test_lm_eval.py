"""Tasks of the evaluation harness, on task files of our own: nothing is downloaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.looking.guard import untouched
from ontogeny.measures.lm_eval import LmEval, rows_of
from tests.measures.small import log_probabilities, make_context, make_model
from tests.measures.test_undisturbed import fingerprint_of, in_training

pytestmark = pytest.mark.slow


pytest.importorskip("lm_eval")

ITEMS = [
    {"query": "The cat sat on the", "choices": [" mat", " sky", " of of"], "gold": 0},
    {"query": "Rain falls from a", "choices": [" spoon", " cloud", " mat"], "gold": 1},
    {"query": "We write with a", "choices": [" sea", " hill", " pen"], "gold": 2},
    {"query": "Fish live in the", "choices": [" water", " spoon", " cat"], "gold": 0},
]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}, cache_dir: "{cache}"}}
test_split: test
output_type: {output}
doc_to_text: "{{{{query}}}}"
{answers}
metric_list: {metrics}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks over the same items: which of three endings, and how likely is the right one."""
    path = tmp_path_factory.mktemp("tasks")
    lines = [json.dumps({**item, "right": item["choices"][int(str(item["gold"]))]}) for item in ITEMS]  # type: ignore[index]
    (path / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    shared = {"file": path / "items.jsonl", "cache": path / "cache"}
    choose = 'doc_to_choice: "{{choices}}"\ndoc_to_target: "{{gold}}"\ntarget_delimiter: ""'
    say = 'doc_to_target: "{{right}}"\ntarget_delimiter: ""'
    (path / "endings.yaml").write_text(
        TASK.format(name="endings", output="multiple_choice", answers=choose, metrics="[{metric: acc}]", **shared)
    )
    (path / "last_word.yaml").write_text(
        TASK.format(
            name="last_word",
            output="loglikelihood",
            answers=say,
            metrics="[{metric: perplexity, aggregation: perplexity}, {metric: acc}]",
            **shared,
        )
    )
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([" ".join([str(i["query"]), *i["choices"]]) for i in ITEMS], 300)  # type: ignore[misc]


def look(folder: Path, tokenizer: Any, model: Any, **settings: Any) -> Any:
    measure = LmEval(tasks=("endings", "last_word"), folder=str(folder), **settings)
    with untouched(model):
        return measure.look(make_context(model, [], tokenizer=tokenizer)).arrays


def log_likelihood(model: Any, tokenizer: Any, query: str, ending: str) -> float:
    """One sequence at a time, in float64: the tokens of the ending given the query."""
    whole = tokenizer(query + ending, add_special_tokens=False)["input_ids"]
    start = len(tokenizer(query, add_special_tokens=False)["input_ids"])
    table = log_probabilities(model, np.array(whole))
    return float(sum(table[t - 1, whole[t]] for t in range(start, len(whole))))


def test_items_are_those_of_one_sequence_at_a_time(folder: Path, tokenizer: Any) -> None:
    model = make_model(vocabulary=len(tokenizer)).eval()
    observed = look(folder, tokenizer, model)
    rows = {
        (str(task), str(metric), int(number)): float(value)
        for task, metric, number, value in zip(
            observed.task_of_item.values,
            observed.metric_of_item.values,
            observed.number_of_item.values,
            observed.value.values,
            strict=True,
        )
    }
    totals = []
    for i, item in enumerate(ITEMS):
        by_choice = [log_likelihood(model, tokenizer, str(item["query"]), one) for one in item["choices"]]  # type: ignore[attr-defined]
        assert rows["endings", "acc", i] == float(np.argmax(by_choice) == item["gold"])
        right = by_choice[int(str(item["gold"]))]
        assert rows["last_word", "perplexity", i] == pytest.approx(
            right, abs=1e-4
        )  # before aggregation: a log-likelihood
        totals.append(right)
    assert float(observed["endings_acc"]) == pytest.approx(np.mean([rows["endings", "acc", i] for i in range(4)]))
    assert float(observed["last_word_perplexity"]) == pytest.approx(np.exp(-np.mean(totals)), rel=1e-4)


def test_limit_takes_the_first_items(folder: Path, tokenizer: Any) -> None:
    observed = look(folder, tokenizer, make_model(vocabulary=len(tokenizer)), limit=2)
    assert set(observed.number_of_item.values.tolist()) == {0, 1}


def test_another_model_has_other_answers_and_the_same_items(folder: Path, tokenizer: Any) -> None:
    one, other, again = (
        look(folder, tokenizer, make_model(vocabulary=len(tokenizer), seed=seed)) for seed in (0, 1, 0)
    )
    assert one.equals(again)  # tasks are read once: nothing of one look stays for the next
    assert one.number_of_item.equals(other.number_of_item)
    assert not np.array_equal(one.value.values, other.value.values)


def test_a_look_changes_nothing(folder: Path, tokenizer: Any) -> None:
    model = in_training(make_model(vocabulary=len(tokenizer)))
    torch.manual_seed(3)
    before = fingerprint_of(model)
    look(folder, tokenizer, model)
    assert fingerprint_of(model) == before


@pytest.mark.slow
def test_an_unknown_task_is_one_line(folder: Path, tokenizer: Any) -> None:
    model = make_model(vocabulary=len(tokenizer))
    with pytest.raises(OntogenyError, match="knows no task 'hellasweg'"):
        LmEval(tasks=("hellasweg",)).look(make_context(model, [], tokenizer=tokenizer))


def test_numbers_of_more_parts_are_not_items() -> None:
    # word_perplexity of one document is a pair (log-likelihood, words): only acc is one number.
    sample = {
        "doc_id": 0,
        "filter": "none",
        "metrics": ["acc", "word_perplexity"],
        "acc": True,
        "word_perplexity": (-3.0, 2),
    }
    assert list(rows_of({"t": [sample]})) == [("t", "acc", 0, 1.0)]
