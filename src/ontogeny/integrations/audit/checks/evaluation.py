"""Does evaluation judge what is trained, count every token once, and leave the training alone?"""

import math

import numpy as np

from ontogeny.core.verdicts import Severity
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.check import Outcome, check
from ontogeny.integrations.audit.evaluated_objective import compare_objectives, learning_weights, near
from ontogeny.integrations.audit.recording import Recording
from ontogeny.integrations.audit.returned import LOSS, PERPLEXITY, PLAIN, is_cut_off, named, plain_value, two_values

NEEDS = "audit.watch(evaluate=…), and the end of the loop"
ONCE = "one evaluation, a copy of the weights and three passes over them, at the end of the audit"


@check(
    title="An evaluation that touches the training",
    needs=NEEDS,
    cost=ONCE,
    threshold="parameters or buffers that differ afterwards (parameters by 1e-6 or more), gradients left behind, a "
    "seed (torch's, numpy's or Python's) that was set and not put back, or, of a model with dropout, evaluation "
    "mode left on",
    otherwise="statistics that are meant to be updated there",
    refuted_by="equal weights and an equal next batch with and without the evaluation",
    remedy="evaluate in eval mode under torch.no_grad(), and call model.train() afterwards; fork the generators "
    "(torch.random.fork_rng), or put their states back, where a seed is set",
)
def evaluation_leaves_alone(seen: Recording) -> Outcome:
    """Training goes on from the very state that evaluation met."""
    done = seen.evaluated
    if done is None:
        return Lacks(what=NEEDS)
    said = []
    if done.changed:
        said.append(f"changes {len(done.changed)} tensors ({', '.join(done.changed[:3])})")
    if done.gradients:
        said.append(f"leaves gradients in {len(done.gradients)} tensors")
    if done.reseeded:
        said.append(f"sets the seed of {', '.join(done.reseeded)}: equal numbers follow each evaluation")
    # A loop that was seen to come back to training mode does so itself; one that never is in it means it so.
    trained = [one.training for one in seen.forwards[-1:]]
    left = seen.dropout and done.modes and all(trained) and not seen.generation.came_back
    if left:
        said.append(
            f"leaves {len(done.modes)} modules in another mode: dropout stays off unless the loop calls model.train()"
        )
    numbers = {
        "changed": len(done.changed),
        "rounded": len(done.rounded),
        "gradients": len(done.gradients),
        "reseeded": len(done.reseeded),
        "other_modes": len(done.modes),
    }
    if not said:
        return Nothing(numbers=numbers)
    severity: Severity = "error" if done.changed or done.gradients else "warning" if done.reseeded else "note"
    return Detection(
        severity=severity,
        statement=f"the evaluation {'; '.join(said)}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Evaluated in training mode",
    needs="a model with dropout, and forward passes without gradients: in the loop, or by watch(evaluate=…); or a "
    "batch of token ids that it is run on again at the end, in evaluation mode",
    cost="nothing in the loop; with watch(evaluate=…) one evaluation at the end",
    threshold="two or more of these passes in training mode; or a function of torch that drops something out in "
    "evaluation mode",
    otherwise="dropout that is wanted there, as for uncertainty",
    refuted_by="two evaluations in a row give the same number",
    remedy="model.eval() before, model.train() after; give F.dropout training=self.training",
)
def evaluation_in_training_mode(seen: Recording) -> Outcome:
    """Nothing is dropped out while the model is evaluated."""
    evaluated = seen.evaluated.passes if seen.evaluated is not None else []
    passes = seen.generation.passes + len(evaluated)
    wrong = seen.generation.passes_in_training_mode + sum(one.training for one in evaluated)
    numbers = {"passes": passes, "in_training_mode": wrong}
    if seen.reruns.drops_out is not None:
        return Detection(
            severity="warning",
            statement=f"in evaluation mode the model calls {seen.reruns.drops_out} with "
            "dropout on: it gives the same batch another NLL each time",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    if not seen.dropout:
        return Nothing(numbers={"dropout": 0})
    if passes < 2:
        return Lacks(what="two forward passes without gradients, in the loop or by audit.watch(evaluate=…)")
    if wrong < 2:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"{wrong} of {passes} forward passes without gradients ran in training "
        "mode: dropout is on while the model is judged",
        numbers=numbers,
        evidence=(),
    )


@check(
    title="Trained in evaluation mode",
    needs="four forward passes with gradients",
    cost="nothing",
    threshold="backward passes in training mode first, and in evaluation mode later, of a model with dropout; or all "
    "of them in evaluation mode (a note)",
    otherwise="two stages, the second without dropout on purpose; a training that is meant to be without it",
    refuted_by="model.training is True at every backward pass",
    remedy="call model.train() after every evaluation, or at the top of every step",
)
def trained_in_evaluation_mode(seen: Recording) -> Outcome:
    """Dropout stays on after the first evaluation."""
    modes = [one.training for one in seen.forwards if one.backward]
    if len(modes) < 4:
        return Lacks(what="four forward passes with gradients")
    first = next((place for place, mode in enumerate(modes) if not mode), len(modes))
    numbers = {"passes": len(modes), "in_evaluation_mode": len(modes) - sum(modes)}
    if not seen.dropout or first == len(modes):
        return Nothing(numbers=numbers)
    if not any(modes):
        return Detection(
            severity="note",
            statement=f"all of {len(modes)} passes with gradients ran in evaluation mode: "
            "the model's dropout is never on",
            numbers=numbers,
            evidence=(),
            remedy="call model.train() before the loop: from_pretrained returns a model in evaluation mode; "
            "to train without dropout, set it to 0 in the config",
        )
    if first == 0:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"after {first} passes in training mode, {numbers['in_evaluation_mode']}"
        " ran with gradients in evaluation mode: dropout stayed off",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="Examples counted twice, or never",
    needs=f"{NEEDS}; better with validation_texts (watch)",
    cost=ONCE,
    threshold="5% of the evaluated rows (of 8 tokens or more) are repeated, or any where there are more rows than "
    "texts, unless all are, equally often; or a last, smaller batch of texts is missing",
    otherwise="texts that stand in the data several times; packing",
    refuted_by="rows scored = length of the evaluation set",
    remedy="evaluate each text once, without drop_last; cut off what a distributed sampler adds",
)
def evaluation_counts_once(seen: Recording) -> Outcome:
    """Every example is evaluated once."""
    done = seen.evaluated
    passes = [] if done is None else done.round()
    rows = [row for one in passes for row in one.rows]
    known = [row for row in rows if row]
    if not known:
        return Lacks(what=f"{NEEDS}, over rows of 8 tokens or more")
    texts = seen.latest("validation_texts")
    count = len(texts) if texts is not None else None
    again = len(known) - len(set(known))
    numbers: dict[str, float | int | str] = {"rows": len(rows), "repeated": again}
    if count is not None:
        numbers["texts"] = count
    if again and (again >= 0.05 * len(known) or (count is not None and len(rows) > count)):
        return Detection(
            severity="warning",
            statement=f"{again} of {len(rows)} evaluated rows were evaluated before"
            + (f"; there are {count} texts" if count is not None else ""),
            numbers=numbers,
            evidence=(),
            certainty="possible" if count is None else "likely",
        )
    size, missing = len(passes[0].rows), (count or 0) - len(rows)
    if missing > 0 and count is not None and {len(one.rows) for one in passes} == {size} and count % size == missing:
        return Detection(
            severity="warning",
            statement=f"the last {missing} of {count} texts are never evaluated: they do not fill a batch of {size}",
            numbers=numbers,
            evidence=(),
        )
    return Nothing(numbers=numbers)


@check(
    title="A mean of batch means",
    needs=f"{NEEDS}; it returns a loss or an NLL",
    cost=ONCE,
    threshold="what it returns is the mean of its batches' means, and more than 1% off the mean over tokens",
    otherwise="documents that are meant to count alike",
    refuted_by="the same value at another batch size",
    remedy="add up NLL and tokens over all batches, and divide once",
)
def evaluation_token_weighted(seen: Recording) -> Outcome:
    """Every token counts alike."""
    done = seen.evaluated
    value = None if done is None else plain_value(done)
    if done is None or value is None or not done.tokens:
        return Lacks(what=f"{NEEDS}, that returns a loss or an NLL of rows that the model was seen to evaluate")
    numbers: dict[str, float | int | str] = {
        "returned": value,
        "mean_over_tokens": done.token_mean,
        "mean_of_batches": done.batch_mean,
        "mean_of_rows": done.row_mean,
        "batches": len(done.passes),
    }
    if near(value, done.token_mean, 0.01):
        return Nothing(numbers=numbers)
    if any(near(value, mean, 1e-3) for mean in (done.batch_mean, done.row_mean)):
        return Detection(
            severity="warning",
            statement=f"the evaluation returns {value:.4g}, the mean of its batches' "
            f"means; over tokens the NLL is {done.token_mean:.4g}",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    return Lacks(
        what="a returned loss that is a mean NLL of the rows that the model was seen to evaluate (of another "
        "loss, an evaluation that takes a batch_size tells)"
    )


@check(
    title="An evaluation that depends on its batches",
    needs=f"{NEEDS}, of rows of token ids; better, a function that takes a batch_size",
    cost="at the end, five forward passes over four evaluated rows; a second evaluation where it takes a batch_size",
    threshold="a returned loss, NLL or perplexity that differs by more than 1% at half the batch size; or evaluated "
    "rows whose NLL, alone and without padding, differs by more than 1e-3 nats on average (0.1 where weights have 16 "
    "bits), while those of training do not",
    otherwise="an evaluation of other rows at another batch size, as with drop_last",
    refuted_by="equal numbers at batch size 1",
    remedy="add up NLL and tokens over all batches, and divide once; give the model the attention mask, and pad as in "
    "training",
)
def evaluation_depends_on_batch(seen: Recording) -> Outcome:
    """An evaluation returns the same at any batch size."""
    done, alone = seen.evaluated, seen.reruns.evaluated
    noisy = seen.dropout and done is not None and any(one.training for one in done.passes)
    pair = None if done is None or done.sizes is None or noisy else two_values(done)
    if done is None or (pair is None and alone is None):
        return Lacks(
            what=f"{NEEDS}: a function that gives the model rows of token ids, or takes a batch_size and "
            "returns a loss, an NLL or a perplexity"
        )
    numbers: dict[str, float | int | str] = {} if alone is None else {"nats": alone.nats, "tokens": alone.tokens}
    said = []
    if pair is not None and done.sizes is not None:
        numbers |= {"returned": pair[0], "at_other_size": pair[1], "size": done.sizes[0], "other_size": done.sizes[1]}
        if not near(pair[1], pair[0], 0.01):
            said.append(
                f"returns {pair[0]:.4g} with batches of {done.sizes[0]} and {pair[1]:.4g} with batches of "
                f"{done.sizes[1]}"
            )
    if alone is not None and alone.large and not (seen.reruns.alone is not None and seen.reruns.alone.large):
        said.append(
            f"gives its rows an NLL that differs by {alone.nats:.3g} nats when each is alone and without padding"
        )
    if not said:
        return Nothing(numbers=numbers)
    return Detection(
        severity="error",
        statement=f"the evaluation {'; it '.join(said)}",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )


@check(
    title="A perplexity that is not exp(NLL)",
    needs=f"{NEEDS}; it returns a perplexity",
    cost=ONCE,
    threshold="the perplexity is cut off (e^20 = 485165195.41), is exp of a composite loss, or differs by more than 1% "
    "from exp of the mean NLL over tokens",
    otherwise="a perplexity per word or per byte",
    refuted_by="ln(perplexity) = the plain next-token NLL",
    remedy="perplexity = exp(sum of next-token NLL / tokens), from nothing else, and never clamped",
)
def perplexity_of_nll(seen: Recording) -> Outcome:
    """Perplexity comes from plain next-token NLL, unclamped."""
    done = seen.evaluated
    perplexity = None if done is None else named(done.numbers, PERPLEXITY)
    if done is None or perplexity is None or not perplexity > 0:
        return Lacks(what=f"{NEEDS}, that returns a perplexity")
    loss, plain, logarithm = named(done.numbers, LOSS), named(done.numbers, PLAIN), math.log(perplexity)
    numbers: dict[str, float | int | str] = {"perplexity": perplexity, "ln_perplexity": logarithm}
    numbers |= {name: value for name, value in (("loss", loss), ("nll", plain)) if value is not None}
    if done.tokens:
        numbers["mean_over_tokens"] = done.token_mean
    if is_cut_off(logarithm) and any(one is not None and one > logarithm + 1e-3 for one in (loss, plain)):
        return Detection(
            severity="error",
            statement=f"the perplexity is cut off at {perplexity:.2f} = e^{logarithm:.4g}; "
            f"the loss is {loss if loss is not None else plain:.4g}",
            numbers=numbers,
            evidence=(),
            certainty="certain",
        )
    lone = loss is None and plain is None and not (done.tokens and abs(logarithm - done.token_mean) <= 0.01)
    if is_cut_off(logarithm) and lone and perplexity >= 1e4:
        return Detection(
            severity="error",
            statement=f"the perplexity is {perplexity:.2f} = e^{logarithm:.4g}, a number "
            "that none comes out at by itself: it is cut off there",
            numbers=numbers,
            evidence=(),
        )
    truths = [one for one in (plain, done.token_mean if done.tokens else None) if one is not None]
    if any(abs(logarithm - one) <= 0.01 for one in truths):
        return Nothing(numbers=numbers)
    composite = sum(weight != 0 for weight in learning_weights(seen).values()) > 1
    if loss is not None and abs(logarithm - loss) <= 1e-3 * abs(loss):
        if truths and (composite or plain is not None):
            return Detection(
                severity="error",
                statement=f"the perplexity {perplexity:.4g} is exp of the whole loss "
                f"({loss:.4g}); exp of the next-token NLL is {math.exp(truths[0]):.4g}",
                numbers=numbers,
                evidence=(),
                certainty="certain",
            )
        return Nothing(numbers=numbers)
    if truths and (plain is not None or all(one.labelled for one in done.passes)):
        return Detection(
            severity="warning",
            statement=f"the perplexity is {perplexity:.4g} where exp(NLL) is {math.exp(truths[-1]):.4g}",
            numbers=numbers,
            evidence=(),
        )
    return Lacks(what="a perplexity beside an NLL, or of rows that the model was given labels of")


@check(
    title="Evaluation of another objective",
    needs="terms and weights that the loss tells the audit in training and in evaluation (watch), or an evaluation "
    "(watch) that returns its loss",
    cost=ONCE,
    threshold="a weight that differs by more than a tenth, at two evaluations or at the only one; a returned loss that "
    "is more than 1% off the training weights' sum of the returned terms; or, where training is a plain cross entropy, "
    "off the mean NLL of its rows",
    otherwise="an evaluation that is meant to judge something else: then it should have another name",
    refuted_by="the same batch gives the same loss in training and in evaluation, dropout off",
    remedy="one function for both, given the same step; report each unweighted term and the plain NLL beside it",
)
def evaluation_objective(seen: Recording) -> Outcome:
    """Training and evaluation compute the same objective."""
    return compare_objectives(
        seen, lacks=f"terms and weights watched in evaluation, too; or {NEEDS}, that returns its loss"
    )


@check(
    title="Averaged weights that lag behind",
    needs=f"{NEEDS}; ema (watch); two looked-at steps in a row",
    cost="a copy of some thousand numbers at looked-at steps, and one evaluation at the end",
    threshold="the evaluated average still holds more than half of the weights it began with: decay^steps > 0.5",
    otherwise="an audit of the first steps of a long training",
    refuted_by="evaluations of average and trained weights agree",
    remedy="a horizon of 1 / (1 - decay) far below the steps taken, or a decay that grows, as min(decay, (1 + n) / "
    "(10 + n)); evaluate the trained weights beside",
)
def average_lags(seen: Recording) -> Outcome:
    """What is evaluated has learned what was trained."""
    done = seen.evaluated
    if done is None or not seen.averages:
        return Lacks(what=f"{NEEDS}; audit.watch(ema=…) and two looked-at steps in a row")
    if not done.foreign_weights and not any(one.averaged for one in done.passes):
        return Nothing(numbers={"averaged": 0})
    decays = np.clip([one.decay for one in seen.averages], 0.0, 1.0)
    late = float(np.mean(decays[len(decays) // 2 :]))
    left = float(np.prod(decays)) * late ** max(len(seen.steps) - len(decays), 0)
    horizon = 1 / (1 - late) if late < 1 else math.inf
    numbers = {"decay": late, "horizon_steps": horizon, "steps": len(seen.steps), "share_of_start": left}
    if left <= 0.5:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"after {len(seen.steps)} steps the evaluated average is still "
        f"{left:.1%} what it began with: its horizon is {horizon:,.0f} steps",
        numbers=numbers,
        evidence=(),
        certainty="certain",
    )
