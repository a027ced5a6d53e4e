"""Is what is saved what was trained, and does a resume go on where training stopped?"""

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.recording import Recording


@check(
    title="Saved model differs",
    needs="the end of the audit; a model of at most 1e9 parameters in one process: with save_pretrained and "
    "from_pretrained, or a PEFT adapter on its base, or another module that can be copied (its state_dict is loaded "
    "into a copy); a looked-at batch of token ids",
    cost="at the end, the weights written to a temporary folder and read again, a second copy of the model for as "
    "long, and two forward passes",
    threshold="the loaded model's NLL of four rows differs by more than 1e-3 nats on average (0.1 where weights have "
    "16 bits), or what was saved does not load",
    otherwise="code around the model that from_pretrained cannot know of, and that is loaded otherwise, or tensors "
    "that are saved beside the adapter",
    refuted_by="equal NLL of the model before and after",
    remedy="keep all that is learned in parameters or buffers of the model, write sizes into its config, name what is "
    "trained beside an adapter in modules_to_save, and load once right after the first save",
)
def saved_model_differs(seen: Recording) -> Outcome:
    """A model that was saved and loaded reproduces the loss."""
    found = seen.reruns
    if found.reload_error:
        return Detection(
            severity="error",
            statement=f"what the model saves does not load: {found.reload_error}",
            numbers={},
            evidence=(),
        )
    if found.reloaded is None:
        return Lacks(what=found.reload_lacks)
    numbers = {"nats": found.reloaded.nats, "tokens": found.reloaded.tokens, "tolerance": found.reloaded.tolerance}
    if not found.reloaded.large:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement="the model, saved and loaded, gives the same tokens an NLL that differs "
        f"by {found.reloaded.nats:.3g} nats on average",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Resume sees other batches",
    needs="ids of each batch, and a function from optimizer steps to the ids that a resume would see next (watch ids, "
    "next_batch_after)",
    cost="eight calls of the function at the end",
    threshold="it names other ids than training saw at that step",
    otherwise="an order that is drawn anew on purpose after a resume",
    refuted_by="equal ids of a run that was interrupted and one that was not",
    remedy="make the order a function of seed, epoch and step, or save the state of sampler and generator with the "
    "weights",
)
def resume_sees_other_batches(seen: Recording) -> Outcome:
    """A resume goes on with the batch that comes next."""
    asked = seen.reread.next_batches
    if not asked:
        return Lacks(what="audit.watch(next_batch_after=…), audit.watch(ids=…) at each step, and the end of the audit")
    off = [step for step, saw, would in asked if saw[: len(would)] != would or not would]
    numbers = {"steps": len(asked), "differ": len(off)}
    if not off:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"a resume after step {off[0]} would see other examples than training saw "
        f"({len(off)} of {len(asked)} steps)",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )
