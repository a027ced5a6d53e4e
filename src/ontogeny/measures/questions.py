"""Can the model answer? Exactly, in its own words, and out of given choices."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.recipe_kinds import AnyCorpus
from ontogeny.looking.axes import variable
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.measures.continuation import passage_of_ids
from ontogeny.statistics.intervals import wilson

if TYPE_CHECKING:
    from ontogeny.data.questions import Question


class Questions(StateMeasure):
    """The share of questions that are answered rightly, with a 95% Wilson interval.

    `exact`: greedy decoding after the question, up to the end of its line, begins with the answer and a word ends there
    (case and white space aside). `chosen`: of the choices, written after the question, the right one has the highest
    log-likelihood; ties count as their chance. `correct`: as chosen where there are choices, else exactly. Of all
    questions: `exact_share`; of those with choices: `chosen_share`; `correct_share` with `correct_low` and
    `correct_high`; `n`. The interval is over questions: it speaks of one model. What was answered is among the samples.

    Questions come from JSON lines (`question`, `answer`, `choices` if there are some), from a corpus that planted them,
    or are the package's ten of general knowledge.
    """

    path: str | None = None
    """JSON lines; a relative path is one from where the run is started."""
    about: AnyCorpus | None = None
    """Instead of path: the corpus that planted the answers, written as in data.corpora ({kind: synthetic, seed: 0})."""
    at_most: int | None = Field(default=None, ge=1)
    """How many questions, the first ones; by default all."""
    prompt: str = Field(default="{question}", pattern=r"\{question\}")
    """How a question is put, for instance "Question: {question}\\nAnswer:"."""
    new_tokens: int = Field(default=12, ge=1)
    """Tokens of an answer in the model's own words."""

    cost: ClassVar[str] = "greedy decoding of `new_tokens` after each question, and a forward pass over its choices"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and self.about is not None:
            raise ValueError("say either path (a file of questions) or about (the corpus that planted the answers)")
        return self

    def look(self, context: Context) -> Observation:
        """Ask. Raises DataError where there are no such questions."""
        asked = self._questions()
        prompts = [self.prompt.replace("{question}", one.question) for one in asked]
        context.model.eval()
        written = self._written(context, prompts)
        exact = np.array(
            [_begins_with(text, one.answer) for text, one in zip(written, asked, strict=True)], dtype=float
        )
        chosen = _chosen(context, prompts, asked)
        correct = np.where(np.isnan(chosen), exact, chosen)
        return Observation(arrays=_arrays(exact, chosen, correct), samples=list(_rows(asked, prompts, written)))

    def _questions(self) -> "list[Question]":
        from ontogeny.core.errors import DataError
        from ontogeny.data.questions import TEN, Asks, read_questions

        if self.about is None:
            return read_questions(Path(self.path) if self.path else TEN)[: self.at_most]
        if not isinstance(self.about, Asks):
            raise DataError(f"'{self.group}': a corpus '{type(self.about).kind}' knows no questions; synthetic does")
        found = list(self.about.questions())[: self.at_most]
        if not found:
            raise DataError(f"'{self.group}': this corpus planted nothing to ask about")
        return found

    def _written(self, context: Context, prompts: Sequence[str]) -> list[str]:
        """What greedy decoding writes after each prompt, up to the end of the line."""
        from ontogeny.models.decoding import continue_greedily

        ids = [_encoded(context.tokenizer, prompt) for prompt in prompts]
        counts = [self.new_tokens] * len(ids)
        lines = continue_greedily(context.model, context.tokenizer, ids, counts, context.batch_tokens)
        return [_first_line(context.tokenizer.decode(line.tolist())) for line in lines]


def _encoded(tokenizer: Any, text: str) -> np.ndarray:
    return np.array(tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _begins_with(text: str, answer: str) -> bool:
    """Does the text begin with the answer, as whole words?"""
    given, wanted = (" ".join(one.split()).casefold() for one in (text, answer))
    return given.startswith(wanted) and not given[len(wanted) : len(wanted) + 1].isalnum()


def _chosen(context: Context, prompts: Sequence[str], asked: "Sequence[Question]") -> np.ndarray:
    """float64 [questions]: 1 where the right choice is the likeliest, its chance in a tie, NaN without choices."""
    passages = []
    for one, prompt in zip(asked, prompts, strict=True):
        before = _encoded(context.tokenizer, prompt)
        gap = "" if prompt[-1:].isspace() else " "
        for choice in one.choices:
            ids = np.concatenate([before, _encoded(context.tokenizer, gap + choice)])
            passages.append(passage_of_ids(ids, len(before), "questions"))
    nll = iter(_summed_nll(context, passages))
    right = np.full(len(asked), np.nan)
    for i, one in enumerate(asked):
        of_choice = {choice: float(next(nll)) for choice in one.choices}
        best = [choice for choice, value in of_choice.items() if value == min(of_choice.values())]
        if best:
            right[i] = (one.answer in best) / len(best)
    return right


def _summed_nll(context: Context, passages: Sequence[Any]) -> np.ndarray:
    """float64 [passages]: NLL of what is supervised, in nats."""
    import torch

    from ontogeny.data.collate import collate
    from ontogeny.objectives.forward import ModelForward

    device = next(context.model.parameters()).device
    found = np.full(len(passages), np.nan)
    for rows in plan_batches([len(one) for one in passages], context.batch_tokens):
        batch = collate([passages[row] for row in rows], 0).to(device)
        with torch.no_grad():
            nll = ModelForward(context.model, batch).nll.double().sum(dim=1)
        found[rows] = nll.cpu().numpy()
    return found


def _arrays(exact: np.ndarray, chosen: np.ndarray, correct: np.ndarray) -> Any:
    import xarray as xr

    n, with_choices = len(correct), chosen[~np.isnan(chosen)]
    share = correct.mean()
    low, high = wilson(np.array(share), np.array(n))
    variables = {
        "correct_share": variable((), share, "1", "share of questions answered rightly"),
        "correct_low": variable((), low, "1", "95% Wilson interval, lower end"),
        "correct_high": variable((), high, "1", "95% Wilson interval, upper end"),
        "exact_share": variable((), exact.mean(), "1", "share whose answer greedy decoding writes"),
        "chosen_share": variable(
            (), with_choices.mean() if len(with_choices) else np.nan, "1", "share whose right choice is the likeliest"
        ),
        "n": variable((), np.int64(n), "items", "questions"),
        "exact": variable("item", exact, "1", "does greedy decoding write the answer"),
        "chosen": variable("item", chosen, "1", "is the right choice the likeliest"),
    }
    probe_of_item = ("item", np.full(n, "questions", dtype=np.str_))
    return xr.Dataset(variables, {"probe_of_item": probe_of_item})


def _rows(asked: "Sequence[Question]", prompts: Sequence[str], written: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of the samples table."""
    for i, (one, prompt, text) in enumerate(zip(asked, prompts, written, strict=True)):
        yield {
            "probe": "questions",
            "passage_id": i,
            "decoding": "greedy",
            "draw": 0,
            "prompt": prompt,
            "text": text,
            "reference": one.answer,
            "ended": False,
        }
