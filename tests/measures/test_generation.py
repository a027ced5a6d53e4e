from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import DataError
from ontogeny.core.passages import ProbeSet
from ontogeny.core.progress import Place
from ontogeny.looking.guard import untouched
from ontogeny.measures.generation import Generation, counts_of
from ontogeny.store.schema import SAMPLES
from tests.measures.small import ByteTokenizer, log_probabilities, make_context, make_model, passage, random_probe


def generate(model: Any, probes: list[ProbeSet], measure: Generation, **changes: Any) -> Any:
    with untouched(model):
        return measure.look(make_context(model, probes, **changes))


def always(token: int) -> Any:
    """Writes one token for ever: the final norm gives a constant, and one row of the head lies along it."""
    model = make_model()
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.weight.zero_()
        model.gpt_neox.final_layer_norm.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[token] = 1.0
    return model


def test_counts_by_hand() -> None:
    # unigrams 1 2 1 2 1 2 and 3: 3 different of 7. Bigrams 12 21 12 21 12: 2 of 5.
    # 4-grams 1212 2121 1212: 1 of 3 repeats
    counts = counts_of([np.array([1, 2, 1, 2, 1, 2]), np.array([3])])
    assert counts["distinct_1"] == pytest.approx(3 / 7)
    assert counts["distinct_2"] == pytest.approx(2 / 5)
    assert counts["repetition_4gram"] == pytest.approx(1 / 3)
    assert counts["length"] == 3.5
    nothing = counts_of([np.zeros(0, dtype=np.int32)])
    assert nothing["length"] == 0
    assert np.isnan([nothing["distinct_1"], nothing["distinct_2"], nothing["repetition_4gram"]]).all()


def test_different_tokens_repeat_nothing() -> None:
    counts = counts_of([np.arange(50), np.arange(50, 100)])
    assert (counts["distinct_1"], counts["distinct_2"], counts["repetition_4gram"]) == (1.0, 1.0, 0.0)


def test_an_ordinary_token_in_the_models_configuration_ends_nothing() -> None:
    model = always(2)
    model.config.eos_token_id = model.generation_config.eos_token_id = 2  # as a configuration from scratch has it
    observed = generate(model, [random_probe("p", [20])], Generation(prompt_tokens=4, new_tokens=12))
    assert float(observed.arrays["length"][0]) == 12
    assert float(observed.arrays["share_ended"][0]) == 0
    assert float(observed.arrays["repetition_4gram"][0]) == pytest.approx(8 / 9)  # nine 4-grams, all alike
    assert observed.samples[0]["text"] == "\x01" * 12
    assert observed.samples[0]["ended"] is False
    assert model.generation_config.eos_token_id == 2


def test_the_tokenizers_end_of_text_ends() -> None:
    class EndsWithTwo(ByteTokenizer):
        eos_token_id = 2

    model = always(2)
    model.config.eos_token_id = model.generation_config.eos_token_id = 7
    observed = generate(
        model, [random_probe("p", [20])], Generation(prompt_tokens=4, new_tokens=12), tokenizer=EndsWithTwo()
    )
    assert float(observed.arrays["length"][0]) == 0
    assert float(observed.arrays["share_ended"][0]) == 1
    assert observed.samples[0]["text"] == ""
    assert observed.samples[0]["ended"] is True


def test_a_tokenizer_without_end_of_text() -> None:
    class Endless(ByteTokenizer):
        bos_token_id = eos_token_id = pad_token_id = None

    model = always(2)
    model.generation_config.eos_token_id = 2
    observed = generate(
        model, [random_probe("p", [20, 6])], Generation(prompt_tokens=4, new_tokens=12), tokenizer=Endless()
    )
    assert float(observed.arrays["length"][0]) == 12


def test_greedy_is_the_first_choice_again_and_again_also_with_padding() -> None:
    model = make_model()
    probe = random_probe("p", [40, 5, 12])  # prompts of 10, 3 and 6 tokens
    observed = generate(model, [probe], Generation(prompts=3, prompt_tokens=10, new_tokens=8, draws=0))
    for row, given in zip(observed.samples, (10, 3, 6), strict=True):
        ids = probe.passages[row["passage_id"]].token_ids[:given]
        for _ in range(8):
            choice = int(log_probabilities(model, ids)[-1].argmax())
            if choice == 0:
                break
            ids = np.append(ids, choice)
        assert row["text"] == ByteTokenizer().decode(ids[given:].tolist())
        assert row["prompt"] == ByteTokenizer().decode(ids[:given].tolist())
    assert "sampled_distinct_1" not in observed.arrays


def test_the_reference_is_what_the_model_never_sees() -> None:
    model = make_model()
    probe = ProbeSet(name="p", passages=[passage([*range(65, 75), *range(90, 100)])])
    changed = ProbeSet(name="p", passages=[passage([*range(65, 75), *range(110, 120)])])
    measure = Generation(prompt_tokens=10, new_tokens=8)
    first, second = (generate(model, [one], measure) for one in (probe, changed))
    assert [row["text"] for row in first.samples] == [row["text"] for row in second.samples]
    assert first.samples[0]["reference"] == "YZ[\\]^_`"  # ids 90 to 97 are bytes 89 to 96
    assert float(first.arrays["reference_length"][0]) == 8
    assert float(first.arrays["reference_distinct_1"][0]) == 1.0


def test_samples_are_rows_of_the_table() -> None:
    observed = generate(
        make_model(), [random_probe("a", [9, 9]), random_probe("b", [9])], Generation(draws=2, new_tokens=3)
    )
    rows = list(observed.samples)
    names = {field.name for field in SAMPLES} - {"step", "measure"}
    assert all(set(row) == names for row in rows)
    keys = [(row["probe"], row["passage_id"], row["decoding"], row["draw"]) for row in rows]
    expected = []
    for name, count in (("a", 2), ("b", 1)):
        expected += [(name, i, "greedy", 0) for i in range(count)]
        expected += [(name, i, "sampled", draw) for i in range(count) for draw in range(2)]
    assert keys == expected


def test_samples_are_drawn_from_seed_and_step() -> None:
    model, probes = make_model(spread=1.0), [random_probe("p", [30] * 3)]
    place = Place(step=4, epoch=0.5, tokens_seen=1, flops=1.0, flops_counted=1.0, weights_sha256="0")
    measure = Generation(draws=2, new_tokens=20)
    runs = [generate(model, probes, measure, **changes) for changes in ({}, {}, {"seed": 6}, {"place": place})]
    texts = [[row["text"] for row in run.samples if row["decoding"] == "sampled"] for run in runs]
    assert texts[0] == texts[1]
    assert len({tuple(one) for one in texts}) == 3
    assert len(set(texts[0])) == 6  # draws differ
    greedy = [[row["text"] for row in run.samples if row["decoding"] == "greedy"] for run in runs]
    assert greedy[0] == greedy[1] == greedy[2] == greedy[3]


def test_sampling_follows_the_models_probabilities() -> None:
    # two tokens of probability 1/4 and 3/4: of 400 tokens 100 +- 4 x 8.7 are the first; top_p 0.7 leaves the second
    model = always(70)
    with torch.no_grad():
        model.lm_head.weight.fill_(-5.0)
        model.lm_head.weight[70] = 1.0
        model.lm_head.weight[71] = 1.0 + np.log(3) / 24
    probes = [random_probe("p", [10])]
    settings = {"prompt_tokens": 4, "new_tokens": 100, "draws": 4}
    drawn = "".join(r["text"] for r in generate(model, probes, Generation(**settings, top_p=1.0)).samples[1:])
    assert set(drawn) == {"E", "F"}
    assert abs(drawn.count("E") - 100) < 35
    narrow = "".join(r["text"] for r in generate(model, probes, Generation(**settings, top_p=0.7)).samples[1:])
    assert set(narrow) == {"F"}


def test_the_context_limits_what_is_written() -> None:
    # 128 tokens of context, 100 given: 28 are left
    observed = generate(always(5), [random_probe("p", [128])], Generation(prompt_tokens=64, new_tokens=100))
    assert float(observed.arrays["length"][0]) == 64
    with pytest.raises(DataError, match="a prompt of 128 tokens fills the model's context"):
        generate(always(5), [random_probe("p", [256])], Generation(prompt_tokens=128))
    with pytest.raises(DataError, match="has no passage of two tokens or more"):
        generate(always(5), [random_probe("p", [1])], Generation())
