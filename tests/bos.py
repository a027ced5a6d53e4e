"""Tokenizers that put something before a text, made from those that do not."""

import copy
from typing import Any


def with_bos(tokenizer: Any) -> Any:
    """The same tokenizer with a token <s>, which it adds before every text, as Llama's and Gemma's do."""
    return _adding(tokenizer, ["<s>"])


def with_two_tokens() -> Any:
    """Every byte is a token; two tokens stand before every text, as with GLM's."""
    from ontogeny.data.tokenizer import train_tokenizer

    return _adding(train_tokenizer([""], 258), ["[gMASK]", "<sop>"])


def _adding(tokenizer: Any, tokens: list[str]) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.add_special_tokens(tokens)
    special = [(token, backend.token_to_id(token)) for token in tokens]
    backend.post_processor = processors.TemplateProcessing(single=[*tokens, "$A"], special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokens[-1],
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        clean_up_tokenization_spaces=False,
    )
