"""Generated texts, cut to what a page can hold."""

import json
from typing import TypedDict

import pandas as pd

from ontogeny.core.measures import PRECISION
from ontogeny.report.passage_reader import evenly_spread
from ontogeny.store.run_group import RunView

WRITING = ("generation", "reproduction", "questions")
"""Kinds of measures that record texts."""
MOST_CHARACTERS = 400_000
MOST_PROMPTS = 24
MOST_DRAWS = 2
MOST_TEXT = 2_000
"""Characters of one text."""


class SampledText(TypedDict):
    """One generated text, for samples.js."""

    step: int
    decoding: str
    draw: int
    text: str
    ended: bool


class SampledPrompt(TypedDict):
    """A prompt with its texts by step, for samples.js."""

    probe: str
    passage: int
    prompt: str
    reference: str
    texts: list[SampledText]


class Samples(TypedDict):
    """What samples.js shows of one run."""

    name: str
    items: list[SampledPrompt]


def rounding_notes(run: RunView) -> list[str]:
    """What must be known of texts that were written in half precision: which others shared their batch matters."""
    notes = []
    for group in run.measures:
        measured = run.measure(group)
        precision, settings = measured.attrs.get(PRECISION), json.loads(measured.attrs.get("settings") or "{}")
        writes = measured.attrs.get("kind") in WRITING
        if writes and precision in ("bfloat16", "float16") and not settings.get("exact"):
            notes.append(
                f"{group} of {run.name} was written in {precision}, several prompts at a time. Products are rounded "
                "otherwise in another batch, so a text may change with the prompts beside it; with  exact: true  each "
                "is written alone."
            )
    return notes


def samples_of(run: RunView, most_characters: int = MOST_CHARACTERS) -> tuple[Samples | None, list[str]]:
    """A run's samples by prompt, and notes on what was left out; None without samples."""
    frame = run.samples
    if frame.empty:
        return None, []
    keys = ["probe", "passage_id"]
    frame = frame[frame["draw"] < MOST_DRAWS].sort_values(["step", "decoding", "draw"], kind="stable")
    prompts = frame.drop_duplicates(keys)[keys]
    notes = []
    if len(prompts) > MOST_PROMPTS:
        notes.append(f"{MOST_PROMPTS} of {len(prompts)} prompts are shown; the run holds all.")
        frame = frame.merge(prompts.head(MOST_PROMPTS), on=keys)
    steps = sorted(frame["step"].unique())
    size = int(frame["text"].str.len().clip(upper=MOST_TEXT).sum())
    if size > most_characters:
        kept = [steps[i] for i in evenly_spread(len(steps), max(2, len(steps) * most_characters // size))]
        notes.append(f"{len(kept)} of {len(steps)} checkpoints are shown here.")
        frame = frame[frame["step"].isin(kept)]
    return Samples(name=run.name, items=[_prompt(rows) for _, rows in frame.groupby(keys, sort=False)]), notes


def _prompt(rows: pd.DataFrame) -> SampledPrompt:
    first = rows.iloc[0]
    columns = [rows[name].tolist() for name in ("step", "decoding", "draw", "text", "ended")]
    texts = [
        SampledText(step=step, decoding=decoding, draw=draw, text=text[:MOST_TEXT], ended=ended)
        for step, decoding, draw, text, ended in zip(*columns, strict=True)
    ]
    return SampledPrompt(
        probe=str(first["probe"]),
        passage=int(first["passage_id"]),
        prompt=first["prompt"] or "",
        reference=first["reference"] or "",
        texts=texts,
    )
