"""Faults of a distillation, each beside the same one without it."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.integrations.audit.distilling import at_equality
from tests.audit.distilling import LENGTH, TEMPERATURE, Distilling, make_teacher, mean_kl
from tests.audit.judging import silent, unbroken
from tests.audit.loops import VOCABULARY

pytestmark = pytest.mark.slow


ALL = {
    "teacher_in_train_mode",
    "teacher_not_detached",
    "mass_on_missing_tokens",
    "target_not_the_teachers",
    "kd_out_of_scale",
}


class Tokenizer:
    """A tokenizer as far as a vocabulary goes: id i is token i + `shift`."""

    bos_token_id = eos_token_id = 1
    pad_token_id = 0
    all_special_ids = (0, 1)

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def __len__(self) -> int:
        return VOCABULARY

    def get_vocab(self) -> dict[str, int]:
        return {self.token(i): i for i in range(VOCABULARY)}

    def token(self, i: int) -> str:
        return f"special{i}" if i < 2 else f"token{2 + (i - 2 + self.shift) % (VOCABULARY - 2)}"

    def convert_ids_to_tokens(self, i: int) -> str:
        return self.token(i)


def found(audit: Any) -> dict[str, Any]:
    unbroken(audit)
    return {one.rule: one for one in audit.report.findings}


def clear(audit: Any) -> set[str]:
    return {one.rule for one in audit.report.verdicts if one.verdict == "clear"}


def test_the_clean_distillation_is_clear() -> None:
    silent(Distilling().run(kd_function=mean_kl), *ALL, "kd_not_least_at_equality")
    silent(Distilling().run(watch_logits=False), "kd_out_of_scale")


def test_a_teacher_that_train_puts_in_train_mode() -> None:
    audit = Distilling(together=True).run()
    assert set(found(audit)) == {"teacher_in_train_mode"}
    silent(Distilling(together=False).run(), "teacher_in_train_mode")
    still = make_teacher()
    for module in still.modules():
        if hasattr(module, "p"):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    silent(Distilling(together=True, teacher=still).run(), "teacher_in_train_mode")


def test_a_teacher_that_is_not_detached() -> None:
    def distilling(*, no_grad: bool, trainable: bool) -> Any:
        return Distilling(no_grad=no_grad, teacher=make_teacher().requires_grad_(trainable)).run()

    both = ("teacher_not_detached", "target_not_the_teachers")
    assert set(found(distilling(no_grad=False, trainable=True))) == set(both)
    silent(distilling(no_grad=True, trainable=True), *both)
    silent(distilling(no_grad=False, trainable=False), *both)


def test_a_teacher_that_is_trained() -> None:
    def distilling(*, drifts: bool) -> Any:
        teacher = make_teacher()

        def kd(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            if drifts:
                with torch.no_grad():
                    teacher.get_output_embeddings().weight.mul_(0.999)
            return mean_kl(logits, target)

        return Distilling(teacher=teacher, kd=kd).run()

    assert "its weights change" in found(distilling(drifts=True))["teacher_not_detached"].statement
    silent(distilling(drifts=False), "teacher_not_detached")


def test_the_scale_of_batchmean_and_of_mean() -> None:
    def batchmean(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        log_q, p = (student / TEMPERATURE).log_softmax(-1), (teacher / TEMPERATURE).softmax(-1)
        return F.kl_div(log_q, p, reduction="batchmean") * TEMPERATURE**2  # over [B, L, V]: divides by B alone

    def mean(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        log_q, p = (student / TEMPERATURE).log_softmax(-1), (teacher / TEMPERATURE).softmax(-1)
        return F.kl_div(log_q, p, reduction="mean") * TEMPERATURE**2

    by_rows = found(Distilling(kd=batchmean).run())
    assert set(by_rows) == {"kd_out_of_scale"}
    assert by_rows["kd_out_of_scale"].numbers["ratio"] == pytest.approx(LENGTH, rel=1e-3)
    assert "batchmean" in by_rows["kd_out_of_scale"].statement
    by_all = found(Distilling(kd=mean).run())
    assert set(by_all) == {"kd_out_of_scale"}
    assert by_all["kd_out_of_scale"].numbers["ratio"] == pytest.approx(1 / VOCABULARY, rel=1e-3)
    assert "mean over the vocabulary" in by_all["kd_out_of_scale"].statement
    silent(Distilling(kd=mean_kl).run(), "kd_out_of_scale")


def test_other_divergences_of_the_right_size_are_clear() -> None:
    def reverse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return mean_kl(teacher, student)

    def soft_cross_entropy(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1).mean()

    for kd in (reverse, soft_cross_entropy, lambda s, t: mean_kl(s, t, 1.0)):
        silent(Distilling(kd=kd).run(), "kd_out_of_scale")


def test_a_target_that_is_a_projection() -> None:
    def projected(both: Any, logits: torch.Tensor) -> torch.Tensor:
        projection: torch.Tensor = both.projection(logits[..., :16])
        return projection

    trainable = found(Distilling(target=projected).run())
    assert set(trainable) == {"target_not_the_teachers"}
    assert "gets a gradient itself" in trainable["target_not_the_teachers"].statement
    frozen = found(Distilling(target=lambda both, logits: projected(both, logits).detach()).run())
    assert set(frozen) == {"target_not_the_teachers"}
    assert "is not the teacher's logits" in frozen["target_not_the_teachers"].statement
    silent(Distilling(target=lambda _, logits: logits).run(), "target_not_the_teachers")


def test_a_projector_that_no_optimizer_has() -> None:
    audit = Distilling(whole=True, features=True, forgotten=True).run()
    assert set(found(audit)) == {"gradients_outside_the_optimizer", "tensors_do_not_move"}
    assert "projection.weight" in found(audit)["gradients_outside_the_optimizer"].statement
    silent(Distilling(whole=True, features=True).run(), *ALL, *found(audit))


def test_missing_tokens_with_logit_0() -> None:
    narrow = 12  # tokens that the teacher has; 48 of 60 are missing

    class Narrow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_teacher()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            output = self.inner(input_ids, attention_mask)
            output.logits = output.logits[..., :narrow] - 3.0
            return output

    def padded(value: float) -> Any:
        audit = Distilling(
            teacher=Narrow().eval(), target=lambda _, logits: F.pad(logits, (0, VOCABULARY - narrow), value=value)
        ).run()
        return audit

    zero = found(padded(0.0))
    assert set(zero) == {"mass_on_missing_tokens"}
    assert float(zero["mass_on_missing_tokens"].numbers["mass"]) > 0.9
    silent(padded(-1e9), "mass_on_missing_tokens", "target_not_the_teachers")


def test_a_teacher_of_another_vocabulary() -> None:
    mine, other = Tokenizer(), Tokenizer(shift=5)
    tokenizers: dict[str, Any] = {"tokenizer": mine, "teacher_tokenizer": other}
    wrong = found(Distilling().run(**tokenizers))
    assert set(wrong) == {"teacher_fed_with_other_ids", "vocabulary_by_id"}
    # Token i of the student is at place i - 5 of the teacher's, and so are its logits.
    there = torch.tensor([other.get_vocab()[mine.token(i)] for i in range(VOCABULARY)])
    right = Distilling(to_teacher=lambda ids: there[ids], target=lambda _, logits: logits[..., there]).run(**tokenizers)
    silent(right, *wrong)
    silent(Distilling().run(tokenizer=mine, teacher_tokenizer=Tokenizer()), *wrong)


def test_a_term_that_is_not_least_where_both_agree() -> None:
    def one_place_off(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return mean_kl(student[:, :-1], teacher[:, 1:])

    def probabilities_for_logs(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return F.kl_div(student.softmax(-1), teacher.softmax(-1), reduction="batchmean")

    for function in (one_place_off, probabilities_for_logs):
        assert set(found(Distilling().run(kd_function=function))) == {"kd_not_least_at_equality"}
    silent(Distilling().run(kd_function=mean_kl), "kd_not_least_at_equality")
    for right in (mean_kl, lambda s, t: mean_kl(t, s), lambda s, t: -(t.softmax(-1) * s.log_softmax(-1)).sum()):
        assert at_equality(right) < 1e-5


def jensen_shannon(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """As GKD has it: half the KL from the mean of both to each; a mean over positions, without temperature squared."""
    q, p = ((one / TEMPERATURE).log_softmax(-1).flatten(0, 1) for one in (student, teacher))
    middle = torch.logaddexp(p, q) - math.log(2)
    parts = [F.kl_div(middle, one, log_target=True, reduction="batchmean") for one in (p, q)]
    return (parts[0] + parts[1]) / 2


def test_the_scale_of_a_jensen_shannon_divergence() -> None:
    for right in (jensen_shannon, lambda s, t: TEMPERATURE**2 * jensen_shannon(s, t)):
        audit = Distilling(kd=right).run()
        assert found(audit) == {}
        assert "kd_out_of_scale" in clear(audit)
    wrong = found(Distilling(kd=lambda s, t: TEMPERATURE**2 * jensen_shannon(s, t) / VOCABULARY).run())
    assert set(wrong) == {"kd_out_of_scale"}
    assert "jensen-shannon" in wrong["kd_out_of_scale"].statement
    assert "mean over the vocabulary" in wrong["kd_out_of_scale"].statement
    # 1/8 is near neither the length nor 1 / vocabulary: no cause is named.
    other = found(Distilling(kd=lambda s, t: mean_kl(s, t) / 8).run())["kd_out_of_scale"]
    assert (other.severity, other.certainty) == ("warning", "possible")
    assert "near" not in other.statement


class Attending(torch.nn.Module):
    """A teacher whose dropout is a rate of its attention, and no layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.out = torch.nn.Embedding(VOCABULARY, 16), torch.nn.Linear(16, VOCABULARY)
        self.attention = torch.nn.MultiheadAttention(16, 2, dropout=0.3, batch_first=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        hidden = 10 * self.embed(input_ids)
        return SimpleNamespace(logits=self.out(self.attention(hidden, hidden, hidden)[0]))


def test_a_teacher_that_drops_attention_out() -> None:
    audit = Distilling(together=True, teacher=Attending().requires_grad_(False)).run()
    assert set(found(audit)) == {"teacher_in_train_mode"}
    audit = Distilling(teacher=Attending().requires_grad_(False).eval()).run()
    assert found(audit) == {}
    assert "teacher_in_train_mode" in clear(audit)


class Wider(torch.nn.Module):
    """A teacher with 20 more tokens than the student, whose logits are all at one level."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.inner, self.level = make_teacher(), level

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        output = self.inner(input_ids, attention_mask)
        output.logits = F.pad(output.logits, (0, 20), value=self.level)
        return output


def test_a_wider_teacher_that_is_cut_off() -> None:
    def cut(_: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits[..., :VOCABULARY]

    caught = found(Distilling(teacher=Wider(2.0).eval(), target=cut).run())
    assert set(caught) == {"vocabulary_by_id"}
    assert "the teacher has 80 logits, which are cut off at the student's 60" in caught["vocabulary_by_id"].statement
    # Rows that only fill up to a round size have next to no probability.
    assert found(Distilling(teacher=Wider(-30.0).eval(), target=cut).run()) == {}
    uncut = found(Distilling(teacher=Wider(2.0).eval(), kd=lambda s, t: mean_kl(s, t[..., :VOCABULARY])).run())
    assert uncut["vocabulary_by_id"].severity == "note"


def test_the_teachers_logits_one_place_on() -> None:
    first, later = slice(None, -1), slice(1, None)
    shifted = found(Distilling(cut=(first, later)).run())
    assert set(shifted) == {"target_not_the_teachers"}
    assert "one place on" in shifted["target_not_the_teachers"].statement
    silent(Distilling(cut=(first, first)).run(), *ALL)
    silent(Distilling(cut=(later, later)).run(), *ALL - {"kd_out_of_scale"})


def test_a_mean_teacher() -> None:
    silent(Distilling(averaged=True).run(), "teacher_not_detached", "target_not_the_teachers")
    moving = Distilling(averaged=True)
    assert "its weights change" in found(moving.run(ema=None))["teacher_not_detached"].statement
