"""Texts that the model wrote, cut to what a page can hold."""

from typing import Any

from ontogeny.report.reader import spread
from ontogeny.store.run_group import RunView

MOST_CHARACTERS = 400_000
MOST_PROMPTS = 24
MOST_DRAWS = 2
MOST_TEXT = 2_000


def samples_of(run: RunView, most_characters: int = MOST_CHARACTERS) -> tuple[dict[str, Any], list[str]]:
    """Samples by prompt for the page's script, and what was left out; an empty dict without samples."""
    frame = run.samples
    if frame.empty:
        return {}, []
    keys = ["probe", "passage_id"]
    frame = frame[frame["draw"].fillna(0) < MOST_DRAWS].sort_values(["step", "decoding", "draw"], kind="stable")
    prompts = frame.drop_duplicates(keys)[keys]
    notes = []
    if len(prompts) > MOST_PROMPTS:
        notes.append(f"{MOST_PROMPTS} of {len(prompts)} prompts are shown; the run holds all.")
        frame = frame.merge(prompts.head(MOST_PROMPTS), on=keys)
    steps = sorted(frame["step"].unique())
    size = int(frame["text"].str.len().clip(upper=MOST_TEXT).sum())
    if size > most_characters:
        kept = [steps[i] for i in spread(len(steps), max(2, len(steps) * most_characters // size))]
        notes.append(f"{len(kept)} of {len(steps)} checkpoints are shown here.")
        frame = frame[frame["step"].isin(kept)]
    items = [_item(key, part) for key, part in frame.groupby(keys, sort=False)]
    return {"name": run.name, "items": items}, notes


def _item(key: Any, rows: Any) -> dict[str, Any]:
    first = rows.iloc[0]
    texts = [
        {
            "step": int(row.step),
            "decoding": row.decoding,
            "draw": int(row.draw) if row.draw == row.draw else 0,
            "text": row.text[:MOST_TEXT],
            "ended": bool(row.ended),
        }
        for row in rows.itertuples()
    ]
    return {
        "probe": str(key[0]),
        "passage": int(key[1]),
        "prompt": first["prompt"] or "",
        "reference": first["reference"] or "",
        "texts": texts,
    }
