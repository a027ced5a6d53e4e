"""Printed logs of a composite loss."""

from pathlib import Path

import numpy as np

from ontogeny.diagnosis.examine import examine
from ontogeny.integrations.importers import composite_stdout
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importing import read_history

TEXT = """loading the teacher
[CURRICULUM] Step 0 (0.0%): kd=0.700, feat=0.000, attn=0.000, layer=0.000, contr=0.000
[TOTAL] Loss: 28.5000, Components: 6
[Eval] 161/161 (100.0%) - avg: 51.71
[Eval] loss: 51.7094, ppl: 485165195.41
Step 499: eval_loss: 51.7094, ppl: 485165195.41
[Eval] loss: 51.7094, ppl: 485165195.41
Step 999: eval_loss: 51.7094, ppl: 485165195.41
\x1b[32m[CURRICULUM] Step 1,000 (4.0%): kd=0.700, feat=0.000, attn=0.000, layer=0.000, contr=0.000\x1b[0m
[TOTAL] Loss: 29.0376, Components: 6

Raw loss components:
  kd_loss: 27.4571
  routing_feature_loss: 0.0000
  attention_loss: nan
  lm_loss: 1.5804
done
  kd_loss: 99.0
"""


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "train.log"
    path.write_text(text, encoding="utf-8")
    return path


def test_weights_total_parts_and_evaluations(tmp_path: Path) -> None:
    log = read_history(_write(tmp_path, TEXT))
    assert log.form == composite_stdout.FORM
    (segment,) = log.segments
    found = {(one.scope, one.name): (one.steps.tolist(), one.values.tolist()) for one in segment}
    assert found["train", "loss"] == ([0, 1000], [28.5, 29.0376])
    assert found["eval", "loss"] == ([499, 999], [51.7094, 51.7094])
    assert found["eval", "perplexity"] == ([499, 999], [485165195.41, 485165195.41])
    assert found["train", "term/kd"] == ([1000], [27.4571])  # a part outside a block of parts is none
    assert found["train", "term/lm"] == ([1000], [1.5804])
    assert np.isnan(found["train", "term/attention"][1][0])
    assert [step for step, _ in log.config["term_weights"]] == [0, 1000]
    assert log.config["term_weights"][1][1] == {"kd": 0.7, "feat": 0.0, "attn": 0.0, "layer": 0.0, "contr": 0.0}


def test_rows_are_lines_of_the_file(tmp_path: Path) -> None:
    (segment,) = read_history(_write(tmp_path, TEXT)).segments
    loss, kd = segment.get("loss"), segment.get("term/kd")
    assert loss is not None
    assert kd is not None
    assert (loss.rows.tolist(), kd.rows.tolist()) == ([3, 10], [13])


def test_an_evaluation_without_a_step_stands_at_the_step_before_it(tmp_path: Path) -> None:
    text = "[CURRICULUM] Step 7 (1%): kd=0.7\n[TOTAL] Loss: 9.0, Components: 2\n[Eval] loss: 8.0, ppl: 2981.0\n"
    (segment,) = read_history(_write(tmp_path, text)).segments
    held = segment.get("loss", "eval")
    assert held is not None
    assert held.steps.tolist() == [7]


def test_what_is_wrong_with_it_is_found(tmp_path: Path) -> None:
    # total 29.04 = 0.7 x 39.22 + 0.3 x 5.27, while the parts printed as raw, 27.4571 and 1.5804, are weighted already
    rules = {one.rule for one in examine(read_history(_write(tmp_path, TEXT.replace("nan", "0.0000")))).findings}
    assert {"parts_do_not_sum", "train_eval_weights_differ", "zero_weight_term"} <= rules


def test_steps_beyond_all_bounds_and_torn_lines_are_survived(tmp_path: Path) -> None:
    text = f"[CURRICULUM] Step {'9' * 80} (4%): kd=0.7\n[CURRICULUM] Step , (): kd=\n[TOTAL] Loss: 1\nloss components:"
    read_history(_write(tmp_path, text))


def test_other_logs_are_not_claimed(tmp_path: Path) -> None:
    for text in ("step 10: loss 2.3\n", "[TOTAL] Loss: 3.0\n", "kd_loss: 3.0\nlm_loss: 1.0\n", "\0\1\2"):
        assert composite_stdout.claim(Source(_write(tmp_path, text))) == 0.0
