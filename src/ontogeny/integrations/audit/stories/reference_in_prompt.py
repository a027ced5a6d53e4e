"""A loss that fell while quality fell: what was graded had been generated behind the reference."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit.session import Audit
from ontogeny.integrations.audit.stories._small import prose, tiny_model
from ontogeny.integrations.audit.stories.story import Story, Tell, Telling

if TYPE_CHECKING:
    from torch import Tensor

PAIRS = 24
STEPS = 80
EVERY = 20
READING_STEPS = 120
NEW_TOKENS = 40
SUMMARY_WORDS = 12


@dataclass(frozen=True, kw_only=True)
class Task:
    """Summaries that follow a title: opening words of Python's help topics."""

    tokenizer: Any
    prompts: tuple[str, ...]
    references: tuple[str, ...]


def _task() -> Task:
    from pydoc_data.topics import topics

    from ontogeny.data.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([prose()], 600)
    pairs = []
    for name in sorted(topics):
        words = topics[name].split("\n", 2)[-1].replace("*", " ").replace("=", " ").split()
        if len(words) >= 4 * SUMMARY_WORDS:
            pairs.append((f"Summary of '{name}':", " " + " ".join(words[:SUMMARY_WORDS])))
    prompts, references = zip(*pairs[:PAIRS], strict=True)
    return Task(tokenizer=tokenizer, prompts=prompts, references=references)


def chrf(generated: str, reference: str) -> float:
    """Mean F1 of runs of 1 to 6 characters without spaces (chrF1; Popović 2015); 0 for an empty text."""
    scores = []
    for length in range(1, 7):
        one, other = (
            Counter(text[i : i + length] for i in range(len(text) - length + 1))
            for text in ("".join(generated.split()), "".join(reference.split()))
        )
        both = sum(one.values()) + sum(other.values())
        scores.append(2 * sum((one & other).values()) / both if both else 0.0)
    return sum(scores) / len(scores)


@dataclass
class Summariser:
    """A loop as the post-mortem's. `mended` changes the prompt of the evaluation, and nothing in training."""

    model: Any
    task: Task
    mended: bool
    audit: Audit | None = None
    rows: list[tuple[str, ...]] = field(default_factory=list)
    losses: list[tuple[float, float]] = field(default_factory=list)
    qualities: list[tuple[float, float]] = field(default_factory=list)

    def batch(self) -> "dict[str, Tensor]":
        """All pairs, padded on the right; the title is not supervised, the end is."""
        import torch

        end = self.task.tokenizer.eos_token_id
        rows, spans = [], []
        for prompt, reference in zip(self.task.prompts, self.task.references, strict=True):
            before = self.task.tokenizer.encode(prompt)
            rows.append([*before, *self.task.tokenizer.encode(reference), end])
            spans.append(len(before))
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[end] * (longest - len(row))] for row in rows])
        place = torch.arange(longest)[None]
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        counts = (place >= torch.tensor(spans)[:, None]) & (place < lengths)
        return {"input_ids": ids, "attention_mask": (place < lengths).long(), "labels": ids.where(counts, -100)}

    def quality(self) -> float:
        """Generate behind each prompt and compare with the reference. As it was, the prompt is the whole text."""
        import torch

        tokenizer, end = self.task.tokenizer, self.task.tokenizer.eos_token_id
        given = [
            prompt if self.mended else prompt + reference
            for prompt, reference in zip(self.task.prompts, self.task.references, strict=True)
        ]
        rows = [tokenizer.encode(text) for text in given]
        longest = max(map(len, rows))
        ids = torch.tensor([[*[end] * (longest - len(row)), *row] for row in rows])
        mask = torch.tensor([[*[0] * (longest - len(row)), *[1] * len(row)] for row in rows])
        self.model.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            whole = self.model.generate(
                ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=True, top_k=4, pad_token_id=end
            )
        self.model.train()
        new = [row.tolist() for row in whole[:, longest:]]
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        if self.audit is not None:
            references = list(self.task.references)
            self.audit.watch(prompts=given, references=references, generated=new, generated_texts=texts)
        return sum(map(chrf, texts, self.task.references)) / len(texts)

    def train(self) -> Audit:
        """The loop, with a look at quality in between."""
        import torch

        optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)
        audit = self.audit = Audit(
            self.model, optimizer, tokenizer=self.task.tokenizer, first=20, every=EVERY, quiet=True
        )
        batch = self.batch()
        self.model.train()
        with audit:
            for step in range(STEPS + 1):
                loss = self.model(**batch).loss
                if step % EVERY == 0:
                    self._log(step, float(loss.detach()))
                if step < STEPS:
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
        return audit

    def _log(self, step: int, loss: float) -> None:
        quality = self.quality()
        self.losses.append((step, loss))
        self.qualities.append((step, quality))
        self.rows.append((str(step), f"{loss:.4f}", f"{quality:.3f}"))


def _read(task: Task, tell: Tell) -> Any:
    """A model that has read some prose, so that it writes words from the beginning."""
    import numpy as np
    import torch

    model = tiny_model(width=64, seed=1, vocabulary=len(task.tokenizer), end=task.tokenizer.eos_token_id)
    ids = np.array(task.tokenizer.encode(prose()))
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(READING_STEPS):
        starts = random.integers(len(ids) - 64, size=8)
        rows = torch.from_numpy(ids[starts[:, None] + np.arange(64)])
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tell(f"the model has read {READING_STEPS} batches of prose")
    return model


def _telling(loop: Summariser, title: str, tell: Tell) -> Telling:
    audit = loop.train()
    tell(f"{title}: loss {loop.rows[0][1]} to {loop.rows[-1][1]}, quality {loop.rows[0][2]} to {loop.rows[-1][2]}")
    steps, losses = zip(*loop.losses, strict=True)
    _, qualities = zip(*loop.qualities, strict=True)
    return Telling(
        title=title,
        columns=("step", "train loss", "quality (chrF)"),
        rows=tuple(loop.rows),
        series=(("train loss", steps, losses), ("quality", steps, qualities)),
        report=audit.report,
    )


def story(tell: Tell) -> Story:
    """Train the same model on the same pairs twice, some seconds each."""
    import copy

    task = _task()
    model = _read(task, tell)
    as_it_was = _telling(Summariser(copy.deepcopy(model), task, mended=False), "As it was", tell)
    mended = _telling(Summariser(model, task, mended=True), "Mended", tell)
    return Story(
        name="reference_in_prompt",
        title="The reference stood in the prompt",
        about=f"A small model learns {PAIRS} summaries of {SUMMARY_WORDS} words, each behind its title. On the way it "
        "generates, and what it writes is compared with the summary.",
        concluded=(
            "Training actively hurts: quality falls as the loss falls.",
            "The loss is misaligned with semantic quality; more training makes it worse.",
            "Other terms, other residual scales and another architecture are needed.",
        ),
        was_so="The prompt of the evaluation held the summary already, and what was graded came after it. Behind a "
        "finished summary the right thing to write is the end, so a model that learns scores ever less. With the "
        "prompt cut before the summary the same training shows what it learned.",
        as_it_was=as_it_was,
        mended=mended,
    )
