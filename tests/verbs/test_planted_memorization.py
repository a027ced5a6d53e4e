"""A real training: what is planted often is memorized first, and only planted secrets are exposed."""

from pathlib import Path

import numpy as np
import pytest

from ontogeny.store.run import open_run
from tests.verbs.conftest import Call

RECIPE = """
name: planted
data:
  corpora:
    copies: {kind: invented, form: verse, seed: 1, documents_count: 36, lines: 4, repeats: [1, 8, 64]}
    secrets: {kind: synthetic, people: 0, canaries: 5, repeats: [1, 32]}
  splits: {train: 0.6, novel: 0.4}
  length: 96
  min_length: 24
  train:
    - {of: copies/train}
    - {of: secrets/train}
  probes:
    train: {of: copies/train, at_most: 120}
    novel: {of: copies/novel, at_most: 40}
    secrets: {of: secrets/train, at_most: 24}
    unseen: {of: secrets/novel, at_most: 24}
tokenizer: {vocab_size: 400}
model: {kind: ladder, size: nano}
train: {epochs: 4, batch: 8, lr: 0.004}
checkpoints: {epochs: [0, 0.5, 1, 2, 4]}
measures:
  - {kind: reproduction, probes: [train, novel]}
  - {kind: compression, probes: [train, novel]}
  - {kind: exposure, probes: [secrets, unseen], references: 200}
"""


@pytest.mark.slow
def test_repetition_decides_what_sticks(ontogeny: Call, tmp_path: Path) -> None:
    """Documents that stand 64 times in the data are memorized before those that stand there once; novel ones never are.

    Canaries: with 32 copies the secret is the likeliest of all references, log2(references + 1) bits; those that were
    not trained on have 1.44 bits on average (a uniform rank), so over several canaries below 4.
    """
    path = tmp_path / "planted.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    called = ontogeny("run", path, "--runs", tmp_path / "runs", "--quiet")
    assert called.code == 0, called.err
    run = open_run(next((tmp_path / "runs").glob("planted-*")))
    written = run.measure("reproduction")
    memorized = {
        name: np.nanmean(
            written["memorized"].values[
                :, [i for i, (p, n) in enumerate(_names(run, written)) if p == probe and sign in n]
            ],
            axis=1,
        )
        for name, (probe, sign) in {
            "often": ("train", "-x64"),
            "once": ("train", "-x1#"),
            "never": ("novel", ""),
        }.items()
    }
    first = int(np.argmax(memorized["often"] >= 0.5))
    assert memorized["often"][first] >= 0.5
    assert memorized["once"][first] < 0.25
    assert memorized["never"][-1] < 0.1
    exposed = run.measure("exposure")
    bits = exposed["exposure"].values[-1]
    of = [(p, n) for p, n in _names(run, exposed)]
    often = np.nanmean([b for b, (p, n) in zip(bits, of, strict=True) if p == "secrets" and "-x32" in n])
    never = np.nanmean([b for b, (p, _) in zip(bits, of, strict=True) if p == "unseen"])
    assert often > never + 4
    assert never < 4


def _names(run: object, measured: object) -> list[tuple[str, str]]:
    """Probe set and source of each passage on the measure's axis."""
    return [
        (str(probe), run.probes[str(probe)].passages[int(i)].source + "/")  # type: ignore[attr-defined]
        for probe, i in zip(measured.probe_of_passage.values, measured.passage_id.values, strict=True)  # type: ignore[attr-defined]
    ]
