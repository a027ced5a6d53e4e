"""A JSON object carries the SHA-256 of its other keys under `file_sha256`, so that a changed byte is noticed.

The sum is taken over the values (keys sorted, no blanks), so that a file may be laid out anew. Files of earlier
versions have none and are read as they are.
"""

import hashlib
import json

from ontogeny.core.json_types import JsonObject

KEY = "file_sha256"


def sealed(value: JsonObject) -> JsonObject:
    """The object with its checksum as the last key. Raises TypeError for values that JSON does not know."""
    plain = json.loads(json.dumps(value))
    return {**value, KEY: _sum_of(plain)}


def unsealed(value: object) -> object:
    """The value without its checksum. Raises ValueError if it is not what was sealed."""
    if not isinstance(value, dict):
        return value
    rest = {key: item for key, item in value.items() if key != KEY}
    if KEY in value:
        if value[KEY] != _sum_of(rest):
            raise ValueError(f"its content is not what was written: it does not have its {KEY}")
    elif any(_is_sum_of_others(rest, key) for key in rest):
        raise ValueError(f"the key {KEY} is damaged")
    return rest


def _is_sum_of_others(value: JsonObject, key: str) -> bool:
    """Is that key's value the checksum of all others, so that the key once was `file_sha256`?"""
    text = value[key]
    if not isinstance(text, str) or len(text) != 64:
        return False
    return text == _sum_of({other: item for other, item in value.items() if other != key})


def _sum_of(value: JsonObject) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
