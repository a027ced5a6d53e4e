"""Evaluations alike to every digit: ten faults of one distillation, each alone, all together, and none."""

from dataclasses import dataclass

from ontogeny.core.verdicts import SEVERITIES
from ontogeny.integrations.audit.stories._distillation import FAULTS, FULL, Distillation, taught, telling
from ontogeny.integrations.audit.stories.story import Story, Table, Tell, Telling

BATCHES = 48
EVERY = 12
TEACHER_BATCHES = 50
CUT_OFF = "485165195.41"
"""exp(20), as the log prints it."""
COLUMNS = ("fault", "what the code did", "the audit finds", "symptoms", "eval loss", "kd", "hidden", "true NLL")
PAIRS = (("asking_counts", "evaluated_in_full"), ("kd_by_rows", "perplexity_of_all"))
"""Faults that make a symptom together which neither makes alone."""
CLEAN = "none (the clean twin)"


@dataclass(frozen=True, kw_only=True)
class FaultyTraining:
    """One training with some of the faults."""

    name: str
    did: str
    loop: Distillation
    telling: Telling

    @property
    def found(self) -> tuple[str, ...]:
        """Checks with a finding of a warning or an error, by id."""
        return tuple(finding.rule for finding in self.telling.report.findings if finding.severity in SEVERITIES[:2])

    @property
    def row(self) -> tuple[str, ...]:
        """Its row of the table; numbers of the first and of the last line of the log."""
        first, last = self.loop.numbers[0], self.loop.numbers[-1]
        changes = (f"{first[name]:.2f} → {last[name]:.2f}" for name in ("loss", "kd", "hidden"))
        said = (", ".join(names) or "nothing" for names in (self.found, symptoms(self.loop)))
        return (self.name, self.did, *said, *changes, f"{last['true_nll']:.2f}")


def symptoms(loop: Distillation) -> tuple[str, ...]:
    """What of the original log is seen in this one, by rules on its lines.

    - *same eval loss*: the same four digits in every line
    - *perplexity e^20*: in any line
    - *rate 0*: 0.000e+00 in every line
    - *eval far from train*: the evaluation's loss is off the training's by more than a quarter in the last line of
      the half in which the curriculum leaves terms out, or in the last line of all
    - *kd of tens*: more than ten times the next-token term, in the first line
    - *TERM stands still*: the term's last value is above 0.97 of its first, in the evaluation
    - *lm too low*: the next-token term of the last line is below the student's next-token NLL by more than 1%
    """
    first, last, half = loop.numbers[0], loop.numbers[-1], loop.numbers[(len(loop.numbers) - 1) // 2]
    seen = {
        "same eval loss": len({row[2] for row in loop.rows}) == 1,
        "perplexity e^20": any(row[3] == CUT_OFF for row in loop.rows),
        "rate 0": {row[4] for row in loop.rows} == {"0.000e+00"},
        "eval far from train": any(abs(x["loss"] / x["train_loss"] - 1) > 0.25 for x in (half, last)),
        "kd of tens": first["kd"] > 10 * first["lm"],
        **{f"{name} stands still": last[name] > 0.97 * first[name] for name in FULL},
        "lm too low": last["lm"] < 0.99 * last["true_nll"],
    }
    return tuple(name for name, is_seen in seen.items() if is_seen)


def trials(tell: Tell) -> tuple[FaultyTraining, ...]:
    """The clean twin, each fault alone, and all together; then all but what was found, until nothing is left."""
    teacher = taught(TEACHER_BATCHES, tell)

    def trial(faults: frozenset[str], name: str, did: str) -> FaultyTraining:
        loop = Distillation(teacher=teacher, faults=faults, batches=BATCHES, every=EVERY)
        return FaultyTraining(name=name, did=did, loop=loop, telling=telling(loop, name, tell))

    tried = [trial(frozenset(), CLEAN, "")]
    tried += [trial(frozenset({fault.name}), fault.name, fault.did) for fault in FAULTS]
    for pair in PAIRS:
        tried.append(trial(frozenset(pair), " + ".join(pair), "two of them"))
    left = frozenset(fault.name for fault in FAULTS)
    tried.append(trial(left, "all together", "as it was"))
    while mended := frozenset(fault.name for fault in FAULTS if fault.name in left and fault.check in tried[-1].found):
        left -= mended
        if not left:
            break
        tried.append(trial(left, "then: " + " + ".join(sorted(left)), "what the audit named is mended"))
    return tuple(tried)


def story(tell: Tell) -> Story:
    """Train some fifteen times, a few seconds each."""
    tried = {trial.name: trial for trial in trials(tell)}
    return Story(
        name="identical_evaluations",
        title="Evaluations alike to every digit",
        about=f"A small model is to learn from another one, with {len(FAULTS)} faults that stood in one code base: "
        "each alone, all together beside a clean twin, and then, round by round, without those that the audit named.",
        concluded=(
            "The evaluation's loss is the same to every digit because it was given no step, and so weighs all terms in "
            "full: terms that are not trained yet dominate it. With the step it will fall.",
            "A distillation loss of 30 to 40 where 8 to 10 was expected comes from random initialisation: no fault.",
            "A learning rate of 0.000e+00 is a small one, rounded by its format.",
            "All critical issues are mended; the next run is clean.",
        ),
        was_so="asking_counts alone makes the rate 0 and every term stand still to the digit: no step was ever taken. "
        "Their sum stands still where its weights do, as evaluated_in_full makes them; evaluated_in_full alone is off "
        "the training's loss, and falls. Mended as the document says, the loss would have moved with the weights of "
        "the curriculum, and still nothing would have been trained (row asking_counts). The format prints 2.01e-05 "
        "as 2.010e-05, so a rate of 0.000e+00 was 0. The size of the distillation loss is kd_by_rows, a sum over the "
        "places of a row; e^20 needs it together with perplexity_of_all.",
        as_it_was=tried["all together"].telling,
        mended=tried[CLEAN].telling,
        table=Table(
            title="Which fault explains which symptom", columns=COLUMNS, rows=tuple(t.row for t in tried.values())
        ),
    )
