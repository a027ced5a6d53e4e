"""Tasks of lm-evaluation-harness, such as HellaSwag and LAMBADA, recorded item by item."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.looking.axes import dataset, variable

if TYPE_CHECKING:
    import xarray as xr
    from lm_eval.tasks.manager import TaskDict

Row = tuple[str, str, int, float]
"""Task, metric, item of the task, value."""
Aggregates = Mapping[str, Mapping[str, object]]
"""By task, the harness's aggregated metrics; their keys are `metric,filter`."""
Samples = Mapping[str, Sequence[Mapping[str, Any]]]
"""By task, its items as the harness records them, once per filter of the answers."""


class LmEval(StateMeasure):
    """Tasks of lm-evaluation-harness (Gao et al.), with the same items at every checkpoint, for paired comparisons.

    Metrics with one number per item are recorded as `value` [item], with the task, the metric and the item's number in
    the task. Metrics with several numbers per item (word and byte perplexity) are recorded as their aggregate only.
    Every aggregate is also a metric `<task>_<metric>`: the mean, or what the task defines instead (LAMBADA's perplexity
    is the exponential of the mean negative log-likelihood). Items are the first `limit` of each task, in its order.

    The harness scores in the model's precision and pads in the order of requests, so its numbers depend on `batch` in
    the last bits. It downloads the data sets that a task names; a task on a local file downloads nothing.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks, such as hellaswag and lambada_openai."""
    folder: str | None = None
    """Folder that is searched first for task definitions: YAML files in the harness's format."""
    limit: int | None = Field(default=None, ge=1)
    """Items per task; by default all."""
    batch: int = Field(default=16, ge=1)
    """Requests per forward pass."""

    cost: ClassVar[str] = "a forward pass over every answer of every item: HellaSwag has 10,042 items with 4 answers"

    def look(self, context: Context) -> Observation:
        """Run the tasks. Raises OntogenyError if the harness is not installed, or does not know a task."""
        aggregated, samples = self._run(context)
        means = {
            f"{task}_{key.partition(',')[0]}": float(value)
            for task, aggregates in aggregated.items()
            for key, value in aggregates.items()
            if "," in key and "_stderr" not in key and isinstance(value, int | float)
        }
        return Observation(arrays=_arrays(list(rows_of(samples)), means))

    def _run(self, context: Context) -> tuple[Aggregates, Samples]:
        try:
            from lm_eval.evaluator import evaluate
            from lm_eval.models.huggingface import HFLM
        except ModuleNotFoundError:
            raise OntogenyError(
                "measure 'lm_eval' needs the evaluation harness: install it with  pip install 'ontogeny[harness]'"
            ) from None
        model = HFLM(
            pretrained=context.model,
            tokenizer=context.tokenizer,
            batch_size=self.batch,
            add_bos_token=bool(context.bos),
        )
        results = evaluate(model, _load(self.tasks, self.folder), limit=self.limit, bootstrap_iters=0)
        assert results is not None  # it is None on other processes than the first
        return results["results"], results["samples"]


@lru_cache(maxsize=2)
def _load(tasks: tuple[str, ...], folder: str | None) -> "TaskDict":
    """The tasks, read once for all checkpoints, because listing the harness's tasks takes seconds."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folder)
    for task in tasks:
        if task not in manager.all_tasks:
            raise OntogenyError(
                f"measure 'lm_eval': the harness knows no task '{task}': lm-eval ls tasks  lists them; definitions of "
                "your own go into a folder, and its path into `folder`"
            )
    return manager.load(list(tasks))


def rows_of(samples: Samples) -> Iterator[Row]:
    """Every number that the harness gives to a single item, in order of task, metric and item.

    Of several filters the first counts, so that no item appears twice.
    """
    for task in sorted(samples):
        first_filter = [sample for sample in samples[task] if sample["filter"] == samples[task][0]["filter"]]
        for metric in sorted(first_filter[0]["metrics"]):
            for sample in sorted(first_filter, key=lambda sample: int(sample["doc_id"])):
                value = sample[metric]
                if isinstance(value, bool | int | float | np.number) and not math.isnan(float(value)):
                    yield task, metric, int(sample["doc_id"]), float(value)


def _arrays(rows: list[Row], aggregates: Mapping[str, float]) -> "xr.Dataset":
    tasks, metrics, items, values = ([row[i] for row in rows] for i in range(4))
    variables = {name: variable((), value, "1", "as the harness aggregates it") for name, value in aggregates.items()}
    variables["value"] = variable("item", np.array(values, dtype=np.float64), "1", "a metric's value on one item")
    by_item = {
        "task_of_item": ("item", np.array(tasks, dtype=np.str_)),
        "metric_of_item": ("item", np.array(metrics, dtype=np.str_)),
        "number_of_item": ("item", np.array(items, dtype=np.int64)),
    }
    return dataset(variables, by_item)
