"""Batches of which the student writes a part itself: prompts from the data, continuations sampled before the step."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ontogeny.core.passages import Passage
from ontogeny.core.recipe_train import OnPolicy
from ontogeny.core.seeds import derive_seed
from ontogeny.data.sampling import continuations
from ontogeny.data.tokenizer import token_bytes
from ontogeny.looking.guard import looking
from ontogeny.train.session import Session


def passages_of_step(session: Session) -> list[Passage]:
    """The batch of the next step, a stated share of its rows continued by the model as it is now.

    A function of the step, the seed and the weights: a resumed run writes the same again. Order and number of rows are
    those of the plan.
    """
    passages = [session.examples[i] for i in session.plan.batch_at(session.step)]
    asked = session.train.on_policy
    if asked is None:
        return passages
    seed = derive_seed(session.train.seed, "on-policy", session.step)
    rows = _rows(passages, asked, session.step, seed)
    if rows:
        written = _sample(session, [passages[row] for row in rows], asked, seed)
        for row, ids in zip(rows, written, strict=True):
            passages[row] = _continued(passages[row], asked.prompt, ids, session)
    return passages


def written_tokens(passages: Sequence[Passage]) -> int:
    """How many of their tokens the model wrote itself."""
    return sum(passage.written for passage in passages)


def _rows(passages: Sequence[Passage], asked: OnPolicy, step: int, seed: int) -> list[int]:
    """Which rows are written anew: after every step the share of rows is the stated one, up to one row."""
    per_step = asked.share * len(passages)
    count = int((step + 1) * per_step + 1e-9) - int(step * per_step + 1e-9)
    longer = [row for row, passage in enumerate(passages) if len(passage) > asked.prompt]
    chosen = np.random.default_rng(seed).permutation(longer)[:count]
    return sorted(int(row) for row in chosen)


def _sample(session: Session, passages: Sequence[Passage], asked: OnPolicy, seed: int) -> list[np.ndarray]:
    """What the model writes after each prompt: int32 ids, to the passage's length or to the end-of-text token."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    prompts = torch.tensor(np.stack([p.token_ids[: asked.prompt] for p in passages]), dtype=torch.int64)
    known = min(len(session.tokenizer), session.model.config.get_text_config().vocab_size)  # others spell nothing
    longest = max(map(len, passages)) - asked.prompt
    with looking(session.model):
        rows = continuations(session.model, prompts, longest, asked.temperature, generator, known).numpy()
    written = []
    for passage, row in zip(passages, rows, strict=True):
        ids = row[: len(passage) - asked.prompt]
        ends = np.flatnonzero(ids == session.tokenizer.eos_token_id)
        written.append(ids[: ends[0] + 1] if len(ends) else ids)
    return [ids.astype(np.int32) for ids in written]


def _continued(passage: Passage, prompt: int, ids: np.ndarray, session: Session) -> Passage:
    """The prompt with what the model wrote. The prompt is no target, the whole continuation is."""
    spelled = token_bytes(session.tokenizer, len(session.tokenizer))
    pieces = [spelled[i] or b"" for i in ids]
    before = passage.byte_offsets[: prompt + 1]
    ends = before[-1] + np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
    head = passage.text.encode()[: before[-1]]
    return replace(
        passage,
        text=(head + b"".join(pieces)).decode(errors="replace"),
        token_ids=np.concatenate([passage.token_ids[:prompt], ids]),
        byte_offsets=np.concatenate([before, ends]).astype(np.int32),
        supervised=np.arange(prompt + len(ids)) >= prompt,
        written=len(ids),
    )
