"""Tasks of the field's evaluation harness: HellaSwag, LAMBADA and whatever else it knows, kept item by item."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.errors import OntogenyError
from ontogeny.looking.axes import variable

Row = tuple[str, str, int, float]
"""Task, metric, item of the task, value."""


class LmEval(StateMeasure):
    """Any tasks of lm-evaluation-harness (Gao et al.), the same items at every checkpoint, so that before and after
    can be paired.

    Every metric with one number an item is kept as such: `value` [item], with its task, its metric and the item's
    number in the task. Metrics of more parts (word and byte perplexity) are kept as their mean alone. Means are also
    written as `<task>_<metric>`; where a task aggregates otherwise (LAMBADA's perplexity is the exponential of the mean
    negative log-likelihood), as the task says. Items are the first `limit` of each task, in its order.

    The harness scores in the model's precision, and pads in the order of requests: its numbers depend on `batch` in the
    last bits. It downloads what a task names; a task of a local file needs nothing from outside.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks, such as hellaswag and lambada_openai."""
    folder: str | None = None
    """Where to look for definitions of tasks first: YAML files as the harness reads them."""
    limit: int | None = Field(default=None, ge=1)
    """Items of each task; by default all."""
    batch: int = Field(default=16, ge=1)
    """Requests per forward pass."""

    cost: ClassVar[str] = "a forward pass over every answer of every item: HellaSwag has 10,042 items of 4 answers"

    def look(self, context: Context) -> Observation:
        """Run the tasks. Raises OntogenyError where the harness is missing, or does not know a task."""
        results = self._run(context)
        rows = list(rows_of(results["samples"]))
        means = {
            f"{task}_{key.partition(',')[0]}": float(value)
            for task, found in results["results"].items()
            for key, value in found.items()
            if "," in key and "_stderr" not in key and isinstance(value, int | float)
        }
        return Observation(arrays=_as_arrays(rows, means))

    def _run(self, context: Context) -> Mapping[str, Any]:
        try:
            from lm_eval.evaluator import evaluate
            from lm_eval.models.huggingface import HFLM
        except ModuleNotFoundError:
            raise OntogenyError(
                "measure 'lm_eval' needs the evaluation harness: install it with  pip install 'ontogeny[harness]'"
            ) from None
        model = HFLM(pretrained=context.model, tokenizer=context.tokenizer, batch_size=self.batch)
        found = evaluate(model, _load(self.tasks, self.folder), limit=self.limit, bootstrap_iters=0)
        assert found is not None
        return dict(found)


@lru_cache(maxsize=2)
def _load(tasks: tuple[str, ...], folder: str | None) -> Any:
    """The tasks, read once for all checkpoints: to list what the harness knows takes seconds."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folder)
    for task in tasks:
        if task not in manager.all_tasks:
            raise OntogenyError(
                f"measure 'lm_eval': the harness knows no task '{task}': lm-eval ls tasks  lists them; definitions of "
                "your own go into a folder, and its path into `folder`"
            )
    return manager.load(list(tasks))


def rows_of(samples: Mapping[str, Any]) -> Iterator[Row]:
    """Every number that the harness gave to a single item, in order of task, metric and item."""
    for task in sorted(samples):
        one_filter = [sample for sample in samples[task] if sample["filter"] == samples[task][0]["filter"]]
        for metric in sorted(one_filter[0]["metrics"]):
            for sample in sorted(one_filter, key=lambda one: int(one["doc_id"])):
                value = sample[metric]
                if isinstance(value, bool | int | float | np.number) and not math.isnan(float(value)):
                    yield task, metric, int(sample["doc_id"]), float(value)


def _as_arrays(rows: list[Row], means: Mapping[str, float]) -> Any:
    import xarray as xr

    tasks, metrics, items, values = ([row[i] for row in rows] for i in range(4))
    variables = {name: variable((), value, "1", "as the harness aggregates it") for name, value in means.items()}
    variables["value"] = variable("item", np.array(values, dtype=np.float64), "1", "a metric's value on one item")
    coordinates = {
        "task_of_item": ("item", np.array(tasks, dtype=np.str_)),
        "metric_of_item": ("item", np.array(metrics, dtype=np.str_)),
        "number_of_item": ("item", np.array(items, dtype=np.int64)),
    }
    return xr.Dataset(variables, coordinates)
