"""Models that exist, and what is said when they do not."""

from pathlib import Path

import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.models.build import LoadContext, align_special_tokens, read_limits
from ontogeny.models.sources.ladder import Ladder
from ontogeny.models.sources.pretrained import Pretrained
from tests.models.sources.test_ladder import Tokenizer, context


def saved(folder: Path) -> Path:
    Ladder(size="pico").load(context(tokenizer=Tokenizer(300), length=32)).save_pretrained(folder)
    return folder


def load(source: Pretrained, **changes: object) -> torch.nn.Module:
    return source.load(LoadContext(tokenizer=Tokenizer(300), length=32, seed=0, **changes))  # type: ignore[arg-type]


def test_it_is_loaded_in_float32_with_the_same_weights(tmp_path: Path) -> None:
    original = Ladder(size="pico").load(context(tokenizer=Tokenizer(300), length=32))
    loaded = load(Pretrained(path=str(saved(tmp_path))))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), loaded.parameters(), strict=True))


def test_limits_come_from_the_configuration(tmp_path: Path) -> None:
    limits = read_limits(Pretrained(path=str(saved(tmp_path))).origin(None))
    assert (limits.vocab_size, limits.context_length) == (300, 32)


def test_dropout_can_be_set(tmp_path: Path) -> None:
    source = Pretrained(path=str(saved(tmp_path)))
    assert load(source).config.hidden_dropout == 0.0  # type: ignore[union-attr]
    assert load(source, dropout=0.2).config.hidden_dropout == 0.2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "message"),
    [("./nowhere", "no such directory"), ("a/b/nowhere", "no such directory"), (".", r"no config\.json")],
)
def test_what_is_not_a_model_is_one_line(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=message) as error:
        load(Pretrained(path=path))
    assert "\n" not in str(error.value)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    model = load(Pretrained(path=str(folder)))
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(RecipeError, match="cannot be loaded"):
        load(Pretrained(path=str(folder)))


def test_damaged_weights_are_one_line(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "model.safetensors").write_bytes(b"garbage" * 9)
    with pytest.raises(RecipeError, match="cannot be loaded: ") as error:
        load(Pretrained(path=str(folder)))
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_one_line(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"vocab_size": 300', '"vocab_size": 301'))
    with pytest.raises(RecipeError, match="cannot be loaded: ") as error:
        load(Pretrained(path=str(folder)))
    assert "\n" not in str(error.value)


def test_special_tokens_are_aligned(tmp_path: Path) -> None:
    """A configuration made from scratch names ids that are ordinary tokens here."""
    model = load(Pretrained(path=str(saved(tmp_path))))
    model.config.eos_token_id = 2  # type: ignore[union-attr]
    model.generation_config.eos_token_id = 2  # type: ignore[union-attr]
    align_special_tokens(model, Tokenizer(300))
    assert model.config.eos_token_id == 7  # type: ignore[union-attr]
    assert model.generation_config.eos_token_id == 7  # type: ignore[union-attr]
