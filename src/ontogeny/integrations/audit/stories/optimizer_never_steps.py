"""A distillation that took no optimizer step, and was blamed on its curriculum."""

from ontogeny.integrations.audit.stories._distillation import ACCUMULATION, Distillation, taught, telling
from ontogeny.integrations.audit.stories.story import Story, Tell

BATCHES = 96
EVERY = 16
TEACHER_BATCHES = 50
FAULTS = frozenset({"asking_counts", "kd_by_rows", "perplexity_of_all", "evaluated_in_full"})


def story(tell: Tell) -> Story:
    """Teach a small model twice, some seconds each."""
    teacher = taught(TEACHER_BATCHES, tell)
    as_it_was, mended = (
        telling(Distillation(teacher=teacher, faults=faults, batches=BATCHES, every=EVERY), title, tell)
        for faults, title in ((FAULTS, "As it was"), (frozenset[str](), "Mended"))
    )
    return Story(
        name="optimizer_never_steps",
        title="The optimizer never stepped",
        about="A small model is to learn from another one: next token, the teacher's distribution, its hidden states. "
        f"Gradients of {ACCUMULATION} batches are added up before each step.",
        concluded=(
            "The evaluation's loss is the same to every digit because it weighs its terms otherwise than training.",
            "A high distillation loss is to be expected from a model that begins at random.",
            "A learning rate of 0.000e+00 is the warm-up.",
        ),
        was_so="should_step() counted each time it was asked, and was asked twice per batch: the first answer, which "
        "steps, saw odd counts only, and an even accumulation never divides those. Nothing was trained. The other "
        "weights in evaluation and the perplexity of e^20 were faults as well, and neither made the loss stand still.",
        as_it_was=as_it_was,
        mended=mended,
    )
