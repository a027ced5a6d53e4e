"""Tasks made from held-out text: the last word (cloze), and the right continuation among four."""

from ontogeny.report.charts import INDEPENDENT, Axis, interval_note, trajectory
from ontogeny.report.document_intervals import of_task
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup

CHANCE = 0.25
ITEMS = f"±1.96 standard errors over items, {INDEPENDENT}"
WHAT = {
    "cloze/accuracy": "accuracy of last words",
    "cloze/perplexity": "loss of last words",
    "continuation/acc": "acc of continuations",
    "continuation/acc_norm": "acc_norm of continuations",
}
"""By metric: what analyses call the number."""


def cloze(runs: RunGroup) -> Figure | None:
    """How often greedy decoding writes the last word of a passage."""
    question = "Share of passages whose last word is the model's first choice, token by token."
    return _task(runs, "cloze/accuracy", Axis("accuracy", ".1%"), "Last word (cloze)", question=question, order=10)


def cloze_perplexity(runs: RunGroup) -> Figure | None:
    """How surprised the model is by the last word."""
    question = "exp of the mean NLL of the whole last word, on a logarithmic scale."
    return _task(
        runs,
        "cloze/perplexity",
        Axis("perplexity", ".2f", "log"),
        "Perplexity of the last word",
        question=question,
        order=20,
    )


def continuation(runs: RunGroup) -> Figure | None:
    """How often the true continuation is more likely than the wrong ones."""
    question = (
        "Share of items whose true continuation has the highest log-likelihood of four; the dashed line is chance."
    )
    axis = Axis("accuracy", ".1%", reference=CHANCE)
    return _task(runs, "continuation/acc", axis, "Right continuation", question=question, order=30)


def continuation_per_byte(runs: RunGroup) -> Figure | None:
    """The same with log-likelihood per byte."""
    question = "The same with log-likelihoods divided by the length of each choice in bytes."
    axis = Axis("accuracy", ".1%", reference=CHANCE)
    return _task(runs, "continuation/acc_norm", axis, "Right continuation, per byte", question=question, order=40)


def _task(runs: RunGroup, metric: str, axis: Axis, title: str, *, question: str, order: float) -> Figure | None:
    bars = of_task(runs, WHAT[metric], ITEMS)
    chart = trajectory(runs, metric, axis, bars=bars.frame)
    if chart is None:
        return None
    count = f"{metric.partition('/')[0]}/n"
    return Figure(
        title=title,
        caption=f"{question} {interval_note(runs, bars.note)} {_items(runs, count)}".strip(),
        chart=chart,
        section="tasks",
        order=order,
        metrics=(metric, count),
    )


def _items(runs: RunGroup, count: str) -> str:
    """How many items each set has."""
    last = runs.scalars(count).drop_duplicates("scope", keep="last")
    listed = [f"{int(n)} in {scope}" for scope, n in zip(last["scope"], last["value"], strict=True)]
    return f"Items: {', '.join(listed)}." if listed else ""
