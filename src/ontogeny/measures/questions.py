"""Question answering: by exact match of what the model writes, and by choosing among given answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.passages import Passage
from ontogeny.core.recipe_kinds import AnyCorpus
from ontogeny.data.bos import Bos
from ontogeny.looking.axes import dataset, variable
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.measures.continuation import passage_of_ids
from ontogeny.statistics.intervals import wilson

if TYPE_CHECKING:
    import xarray as xr
    from transformers import PreTrainedTokenizerBase

    from ontogeny.data.questions import Question


class Questions(StateMeasure):
    """The share of questions that are answered correctly, with a 95% Wilson interval.

    `exact`: what greedy decoding writes after the question, up to the end of the line, begins with the answer, and a
    word ends there (case and white space ignored). `chosen`: of the choices, written after the question, the right one
    has the highest log-likelihood; a tie among t choices counts 1/t. `correct` is `chosen` for questions with choices,
    else `exact`. Recorded are `exact_share` of all questions, `chosen_share` of those with choices, `correct_share`
    with its interval `correct_low` to `correct_high`, and `n`. The interval is over questions, so it describes one
    model. The answers are recorded as samples.

    Questions come from JSON lines (`question`, `answer`, optionally `choices`) or from a corpus that planted facts; by
    default they are ten questions of general knowledge that come with the package. What stands before the run's texts
    (BOS) stands before each question.
    """

    path: str | None = None
    """A file of JSON lines; a relative path starts at the directory from which the run is started."""
    about: AnyCorpus | None = None
    """Instead of path: the corpus that planted the answers, written as in data.corpora ({kind: synthetic, seed: 0})."""
    at_most: int | None = Field(default=None, ge=1)
    """Number of questions, the first ones; by default all."""
    prompt: str = Field(default="{question}", pattern=r"\{question\}")
    """How a question is put, for instance "Question: {question}\\nAnswer:"."""
    new_tokens: int = Field(default=12, ge=1)
    """Tokens of a written answer."""
    exact: bool = False
    """Write each answer alone, so that it does not depend on the batch (bf16 rounds otherwise in one)."""

    added_later: ClassVar[frozenset[str]] = frozenset({"exact"})
    cost: ClassVar[str] = "greedy decoding of `new_tokens` after each question, and a forward pass over its choices"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and self.about is not None:
            raise ValueError("say either path (a file of questions) or about (the corpus that planted the answers)")
        return self

    def look(self, context: Context) -> Observation:
        """Ask the questions. Raises DataError if there are none."""
        questions = self._questions()
        prompts = [self.prompt.replace("{question}", question.question) for question in questions]
        context.model.eval()
        answers = self._written_answers(context, prompts)
        matches = [_begins_with(text, question.answer) for text, question in zip(answers, questions, strict=True)]
        exact = np.array(matches, dtype=float)
        chosen = _chosen(context, prompts, questions)
        samples = list(_sample_rows(questions, prompts, answers))
        return Observation(arrays=_arrays(exact, chosen), samples=samples)

    def _questions(self) -> "list[Question]":
        from ontogeny.core.errors import DataError
        from ontogeny.data.questions import TEN, QuestionCorpus, read_questions

        if self.about is None:
            return read_questions(Path(self.path) if self.path else TEN)[: self.at_most]
        if not isinstance(self.about, QuestionCorpus):
            raise DataError(f"'{self.group}': a corpus '{type(self.about).kind}' knows no questions; synthetic does")
        questions = list(self.about.questions())[: self.at_most]
        if not questions:
            raise DataError(f"'{self.group}': this corpus planted nothing to ask about")
        return questions

    def _written_answers(self, context: Context, prompts: Sequence[str]) -> list[str]:
        """What greedy decoding writes after each prompt, up to the end of the line."""
        from ontogeny.models.decoding import continue_greedily

        ids = [_prompt_ids(context, prompt) for prompt in prompts]
        counts = [self.new_tokens] * len(ids)
        answers = continue_greedily(
            context.model, context.tokenizer, ids, counts, context.batch_tokens, exact=self.exact
        )
        return [_first_line(str(context.tokenizer.decode(answer.tolist()))) for answer in answers]


def _encoded(tokenizer: "PreTrainedTokenizerBase", text: str) -> np.ndarray:
    return np.array(tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)


def _prompt_ids(context: Context, prompt: str) -> np.ndarray:
    """A prompt after what stands before the run's texts."""
    return Bos(token_ids=context.bos).with_ids(_encoded(context.tokenizer, prompt))


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _begins_with(text: str, answer: str) -> bool:
    """Does the text begin with the answer, as whole words?"""
    text, answer = (" ".join(string.split()).casefold() for string in (text, answer))
    return text.startswith(answer) and not text[len(answer) : len(answer) + 1].isalnum()


def _chosen(context: Context, prompts: Sequence[str], questions: "Sequence[Question]") -> np.ndarray:
    """float64 [questions]: 1 if the right choice is likeliest, 1/t in a tie among t, else 0; NaN without choices."""
    passages = []
    for question, prompt in zip(questions, prompts, strict=True):
        prompt_ids = _prompt_ids(context, prompt)
        gap = "" if prompt[-1:].isspace() else " "
        for choice in question.choices:
            ids = np.concatenate([prompt_ids, _encoded(context.tokenizer, gap + choice)])
            passages.append(passage_of_ids(ids, len(prompt_ids), "questions"))
    nll = iter(_summed_nll(context, passages))
    credit = np.full(len(questions), np.nan)
    for i, question in enumerate(questions):
        nll_by_choice = {choice: float(next(nll)) for choice in question.choices}
        best = [choice for choice, value in nll_by_choice.items() if value == min(nll_by_choice.values())]
        if best:
            credit[i] = (question.answer in best) / len(best)
    return credit


def _summed_nll(context: Context, passages: Sequence[Passage]) -> np.ndarray:
    """float64 [passages]: NLL of the supervised tokens, summed, in nats."""
    import torch

    from ontogeny.data.collate import collate
    from ontogeny.objectives.forward import ModelForward

    device = next(context.model.parameters()).device
    summed = np.full(len(passages), np.nan)
    for rows in plan_batches([len(passage) for passage in passages], context.batch_tokens):
        batch = collate([passages[row] for row in rows], 0).to(device)
        with torch.no_grad():
            nll = ModelForward(context.model, batch).nll.double().sum(dim=1)
        summed[rows] = nll.cpu().numpy()
    return summed


def _arrays(exact: np.ndarray, chosen: np.ndarray) -> "xr.Dataset":
    """`exact` and `chosen` float64 [questions]; `chosen` is NaN for questions without choices."""
    correct = np.where(np.isnan(chosen), exact, chosen)
    n, with_choices = len(correct), chosen[~np.isnan(chosen)]
    share = correct.mean()
    chosen_share = with_choices.mean() if len(with_choices) else np.nan
    low, high = wilson(np.array(share), np.array(n))
    variables = {
        "correct_share": variable((), share, "1", "share of questions answered correctly"),
        "correct_low": variable((), low, "1", "95% Wilson interval, lower end"),
        "correct_high": variable((), high, "1", "95% Wilson interval, upper end"),
        "exact_share": variable((), exact.mean(), "1", "share whose answer greedy decoding writes"),
        "chosen_share": variable((), chosen_share, "1", "share whose right choice is the likeliest"),
        "n": variable((), np.int64(n), "items", "questions"),
        "exact": variable("item", exact, "1", "does greedy decoding write the answer"),
        "chosen": variable("item", chosen, "1", "is the right choice the likeliest"),
    }
    return dataset(variables, {"probe_of_item": ("item", np.full(n, "questions", dtype=np.str_))})


def _sample_rows(
    questions: "Sequence[Question]", prompts: Sequence[str], answers: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Rows of the samples table."""
    for i, (question, prompt, answer) in enumerate(zip(questions, prompts, answers, strict=True)):
        yield {
            "probe": "questions",
            "passage_id": i,
            "decoding": "greedy",
            "draw": 0,
            "prompt": prompt,
            "text": answer,
            "reference": question.answer,
            "ended": False,
        }
