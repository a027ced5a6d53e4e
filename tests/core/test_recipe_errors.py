"""One bad recipe after another: what the user reads."""

from pathlib import Path

import pytest

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import load_recipe

GOOD = """\
name: small
data:
  corpora:
    prose: {kind: python_prose}
    code: python_code
  train:
    - of: prose/train
  probes:
    train: {of: prose/train, count: 4}
model:
  kind: ladder
  size: pico
train:
  steps: 3
  lr: {shape: cosine, value: 3e-3}
measures:
  - evaluation
  - kind: token_nll
    probes: [train]
"""


def message(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_the_good_recipe_is_good(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert load_recipe(path).name == "small"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # unknown keys, at every depth
        ("  steps: 3", "  steps: 3\n  lrr: 1", "line 15, key 'train.lrr': unknown key 'lrr': did you mean 'lr'?"),
        ("model:", "modell:", "line 10, key 'modell': unknown key 'modell': did you mean 'model'?"),
        ("count: 4", "cuont: 4", "line 9, key 'data.probes.train.cuont': unknown key 'cuont': did you mean 'count'?"),
        ("    - of:", "    - off:", "line 7, key 'data.train.0.off': unknown key 'off': did you mean 'of'?"),
        ("  size:", "  sizes:", "line 12, key 'model.sizes': unknown key 'sizes': did you mean 'size'?"),
        (
            "probes: [train]",
            "probs: [train]",
            "line 19, key 'measures.1.probs': unknown key 'probs': did you mean 'probes'?",
        ),
        ("value: 3e-3", "vlaue: 3e-3", "line 15, key 'train.lr.vlaue': unknown key 'vlaue': did you mean 'value'?"),
        (
            "{kind: python_prose}",
            "{kind: python_prose, limit_char: 1}",
            "line 4, key 'data.corpora.prose.limit_char': unknown key 'limit_char': did you mean 'limit_chars'?",
        ),
        (
            "    probes: [train]",
            "    probes: [train]\n    at: {every_step: 1}",
            "line 20, key 'measures.1.at.every_step': unknown key 'every_step': did you mean 'every_steps'?",
        ),
        # wrong types: what was expected and what was found
        ("steps: 3", 'steps: "3"', "line 14, key 'train.steps': expected a whole number, found '3'"),
        ("steps: 3", "steps: true", "line 14, key 'train.steps': expected a whole number, found true"),
        ("steps: 3", "steps: 3.5", "line 14, key 'train.steps': expected a whole number, found 3.5"),
        ("steps: 3", "steps: [3]", "line 14, key 'train.steps': expected a whole number, found a list of 1"),
        ("steps: 3", "steps: 0", "line 14, key 'train.steps': expected at least 1, found 0"),
        ("name: small", "name: 3", "line 1, key 'name': expected text, found 3"),
        (
            "name: small",
            "name: a b",
            "line 1, key 'name': expected a name of letters, digits, -, _, . and /, found 'a b'",
        ),
        ("of: prose/train\n", "of: prose\n", "expected corpus/split, for instance prose/train, found 'prose'"),
        ("probes: [train]", "probes: train", "line 19, key 'measures.1.probes': expected a list, found 'train'"),
        ("value: 3e-3", "value: .nan", "line 15, key 'train.lr.value': expected a finite number, found NaN"),
        ("value: 3e-3", "value: fast", "line 15, key 'train.lr.value': expected a number, found 'fast'"),
        (
            "lr: {shape: cosine, value: 3e-3}",
            "lr: fast",
            "expected a number, or a mapping such as {shape: cosine, value: 1e-3}, found 'fast'",
        ),
        ("steps: 3", "steps: 3\n  optimizer: {betas: [0.9]}", "key 'train.optimizer.betas': entry 2 is missing"),
        (
            "steps: 3",
            "steps: 3\n  optimizer: {betas: [0.9, 0.99, 0.999]}",
            "key 'train.optimizer.betas': expected at most 2 entries, found a list of 3",
        ),
        (
            "steps: 3",
            "steps: 3\n  optimizer: {beta: 1}",
            "key 'train.optimizer.beta': unknown key 'beta': did you mean",
        ),
        (
            "steps: 3",
            "steps: 3\n  optimizer: {kind: sgd, betas: [0.9, 0.9]}",
            "key 'train.optimizer.betas': unknown key 'betas'",
        ),
        (
            "steps: 3",
            "steps: 3\n  optimizer: adam",
            "line 15, key 'train.optimizer': unknown kind 'adam' in optimizers: did you mean 'adamw'?",
        ),
        (
            "{of: prose/train, count: 4}",
            "[a, b]",
            "line 9, key 'data.probes.train': expected a mapping, found a list of 2",
        ),
        # unknown words
        ("cosine", "cosin", "found 'cosin': did you mean 'cosine'?"),
        ("size: pico", "size: pic", "found 'pic': did you mean 'pico'?"),
        (
            "{kind: python_prose}",
            "{kind: python_pros}",
            "key 'data.corpora.prose': unknown kind 'python_pros' in data.corpora: did you mean 'python_prose'?",
        ),
        (
            "- evaluation",
            "- evalution",
            "line 17, key 'measures.0': unknown kind 'evalution' in measures: did you mean",
        ),
        ("- kind: token_nll", "- kid: token_nll", "line 18, key 'measures.1': expected a kind ("),
        ("  kind: ladder\n", "", "alone or as {kind: NAME, …}, found a mapping"),
        # missing
        ("name: small\n", "", "bad.yaml: 'name' is missing"),
        ("  kind: ladder\n  size: pico", "  kind: pretrained", "line 10, key 'model': 'path' is missing"),
        # impossible combinations carry the line of their block or key
        ("steps: 3", "steps: 3\n  epochs: 2", "line 13, key 'train': say exactly one of steps, epochs, tokens"),
        (
            "of: prose/train\n",
            "of: pros/train\n",
            "line 7, key 'data.train.0.of': unknown corpus 'pros': did you mean 'prose'?",
        ),
        ("[train]", "[trian]", "line 19, key 'measures.1.probes.0': unknown probe set 'trian': did you mean 'train'?"),
        (
            "shape: cosine",
            "shape: cosine, cycles: 2",
            "line 15, key 'train.lr.cycles': 'cycles' means nothing to shape 'cosine'",
        ),
    ],
)
def test_what_the_user_reads(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = message(tmp_path, GOOD.replace(old, new, 1))
    assert expected in found
    assert found.startswith("bad.yaml")


def test_every_fault_has_a_line_of_its_own(tmp_path: Path) -> None:
    text = GOOD.replace("steps: 3", "steps: three").replace("size: pico", "size: huge").replace("count: 4", "count: 0")
    assert [line.partition(", key")[0] for line in message(tmp_path, text).splitlines()] == [
        "bad.yaml, line 9",
        "bad.yaml, line 12",
        "bad.yaml, line 14",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.sed=3", "override train.sed=3: unknown key 'sed': did you mean 'seed'?"),
        ("trian.seed=3", "override trian.seed=3, key 'trian': unknown key 'trian': did you mean 'train'?"),
        (
            "measures.token_nll.prob=3",
            "override measures.token_nll.prob=3, key 'measures.1.prob': unknown key 'prob': did you mean 'probes'?",
        ),
        ("train.steps=x", "override train.steps=x: expected a whole number, found 'x'"),
        (
            "train={steps: 3, sed: 1}",
            "override train={steps: 3, sed: 1}, key 'train.sed': unknown key 'sed': did you mean 'seed'?",
        ),
        ("train.steps.x=1", "override train.steps.x=1, key 'train.steps': expected a whole number, found a mapping"),
        ("model=lader", "override model=lader: unknown kind 'lader' in models.sources: did you mean 'ladder'?"),
    ],
)
def test_overrides_are_named(tmp_path: Path, override: str, expected: str) -> None:
    assert message(tmp_path, GOOD, override) == expected


def test_a_fault_is_one_line_whatever_is_found(tmp_path: Path) -> None:
    text = GOOD.replace("size: pico", 'size: "pi\\nco\\e[31m"')
    found = message(tmp_path, text)
    assert "pi\\nco" in found
    assert not {"\n", "\x1b"} & set(found)


@pytest.mark.parametrize(
    ("take", "refused"),
    [
        (
            "{of: prose/train, spread: true}",
            "all passages are taken, which cannot be spread: write count or at_most, too",
        ),
        (
            "{of: prose/train, at_most: 4, step: 8, window: 16, spread: true}",
            "windows roll over the whole text, they are not spread: leave out spread or step",
        ),
    ],
)
def test_what_cannot_be_spread(tmp_path: Path, take: str, refused: str) -> None:
    assert message(tmp_path, GOOD, f"data.train=[{take}]").endswith(refused)
