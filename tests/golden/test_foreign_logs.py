"""Real logs of other people's runs: what is found in them is what was judged true. Skipped where they are not."""

from pathlib import Path

import pytest

from benchmarks.foreign_logs import ALARMS, folder, states, verdicts
from ontogeny.core.verdicts import Finding, NotAssessable
from ontogeny.diagnosis.examine import Examination, examine
from ontogeny.integrations.importing import read_history

LOGS = folder()
pytestmark = pytest.mark.skipif(LOGS is None, reason="the foreign logs are not here")
TWINS = [
    (
        "hf_trainer_state/10844110__t5-summarization-demo__t5-summ-430.json",
        "tfevents/10844110__t5-summarization-demo__t5-summ.events.out.tfevents",
    ),
    ("hf_trainer_state/hsc748NLP__NSLLM__cpt-2178.json", "llamafactory_jsonl/hsc748NLP__NSLLM__cpt-2178.jsonl"),
    (
        "hf_trainer_state/suzushi-tw__luojiu-7b-base__cpt-7b.json",
        "llamafactory_jsonl/suzushi-tw__luojiu-7b-base__cpt-7b.jsonl",
    ),
    (
        "hf_trainer_state/syGOAT__Mistral-v0.2-Translator-bf16__mistral-mt.json",
        "llamafactory_jsonl/syGOAT__Mistral-v0.2-Translator-bf16__mistral-mt.jsonl",
    ),
    (
        "hf_trainer_state/satishparaddi__Fine-Tuning-LLaMA-for-Medical-QA__llama-bs2.json",
        "tfevents/satishparaddi__Fine-Tuning-LLaMA-for-Medical-QA__llama-bs2.events.out.tfevents",
    ),
    (
        "hf_trainer_state/satishparaddi__Fine-Tuning-LLaMA-for-Medical-QA__llama-bs2.json",
        "notebook_html/satishparaddi__Fine-Tuning-LLaMA-for-Medical-QA__llama.html",
    ),
    (
        "hf_stdout/linxiang-ai__qwen-lora-sft__qwen-m2-full.txt",
        "llamafactory_jsonl/linxiang-ai__qwen-lora-sft__qwen-m2.jsonl",
    ),
    (
        "hf_stdout/linxiang-ai__qwen-lora-sft__qwen-sft-full.txt",
        "llamafactory_jsonl/linxiang-ai__qwen-lora-sft__qwen-sft.jsonl",
    ),
    (
        "hf_stdout/linxiang-ai__qwen-lora-sft__qwen-m3-dpo-strings.txt",
        "llamafactory_jsonl/linxiang-ai__qwen-lora-sft__qwen-m3-dpo.jsonl",
    ),
    (
        "stdout/KellerJordan__modded-nanogpt__euc-10000.txt",
        "tfevents/KellerJordan__modded-nanogpt__euc-10000.events.out.tfevents",
    ),
    (
        "stdout/KellerJordan__modded-nanogpt__nan-step100.txt",
        "tfevents/KellerJordan__modded-nanogpt__nan-step99.events.out.tfevents",
    ),
    ("csv_custom/jaipkapoor99__GPT-2__dev-loss-dup.csv", "json_custom/jaipkapoor99__GPT-2__loss-history-dup.json"),
]
"""The same run in two formats."""


def examined(name: str) -> Examination:
    assert LOGS is not None
    return examine(read_history(LOGS / name))


@pytest.mark.parametrize(
    "name", [name if i % 3 == 0 else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(states())]
)
def test_what_is_found_was_judged_and_curves_are_told_from_what_is_none(name: str) -> None:
    examination = examined(name)
    judged = verdicts()
    assert {one.rule for one in examination.findings if ("ontogeny", name, one.rule) not in judged} == set()
    if states()[name] == "no curve":
        assert examination.history.nothing
    if states()[name] in ("healthy", "ill"):
        assert examination.history.segments


@pytest.mark.slow
def test_few_healthy_logs_are_alarmed_and_most_findings_are_true() -> None:
    judged = {key: true for key, true in verdicts().items() if key[0] == "ontogeny"}
    alarmed = set()
    for name, state in states().items():
        alarms = [one for one in examined(name).findings if one.severity in ALARMS]
        alarmed |= {name} if alarms and state == "healthy" else set()
    assert len(alarmed) <= 2
    assert sum(judged.values()) / len(judged) >= 0.95


@pytest.mark.parametrize(("one", "other"), TWINS, ids=lambda name: Path(name).name[-40:])
def test_twins_in_two_formats_give_the_same_findings(one: str, other: str) -> None:
    """The same, as far as both formats hold what a rule needs: a notebook's table has no gradient norm."""
    first, second = examined(one), examined(other)
    for examination, twin in ((first, second), (second, first)):
        silent = {verdict.rule for verdict in twin.verdicts if isinstance(verdict, NotAssessable)}
        found = {verdict.rule for verdict in twin.verdicts if isinstance(verdict, Finding)}
        assert {verdict.rule for verdict in examination.findings} - silent <= found
