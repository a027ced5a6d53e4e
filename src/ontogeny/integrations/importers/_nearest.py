"""Of a file that is not read: the line that came nearest to an entry, and what it lacks."""

from ontogeny.integrations.importers._names import understand
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._template import NUMBER_IN_LINE, Plan, plan_of
from ontogeny.integrations.importers._text import sample

_MOST_LINES = 2000
_SHOWN = 80
_HOW = (
    "An entry is read from a line such as 'step 10 loss 2.5', a JSON object, a CSV table with a header, or a table of "
    "Trainer. For any other table, name its columns: --map step=COLUMN --map loss=COLUMN"
)


def nearest(source: Source) -> str:
    """One line that says why a file is not read."""
    if not source.is_text:
        return f"its format is not recognised: it is binary, and no log of TensorBoard, W&B or Parquet. {_HOW}"
    best: tuple[int, int, str, Plan] | None = None
    for number, line in enumerate(sample(source)[:_MOST_LINES], 1):
        plan = plan_of(tuple(NUMBER_IN_LINE.split(line)[::2]))
        score = 2 * plan.has_core + plan.has_place + bool(plan.labels)
        if score and (best is None or score > best[0]):
            best = score, number, line, plan
    if best is None:
        return f"its format is not recognised: no line has a name and a number. {_HOW}"
    _, number, line, plan = best
    shown = " ".join(line.split())
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    return f"its format is not recognised: line {number} came nearest ('{shown}'): {_lacking(plan)}. {_HOW}"


def _lacking(plan: Plan) -> str:
    labels = [label for _, label in plan.labels if understand(label) is not None]
    if plan.has_core:
        return "it has a metric, but what stands around it gives no entry with a step"
    if plan.has_place and not labels:
        return "it has a step, but no metric"
    named = f"'{labels[0]}' is" if labels else "nothing in it is"
    return f"{named} not known as a loss, reward, learning rate or quality"
