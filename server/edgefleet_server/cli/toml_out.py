"""Settings as TOML, so that what is shown can be changed in an editor and applied again."""

import json
from collections.abc import Mapping
from typing import Any


def write(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return `table` as TOML below the table `path`. Values are what JSON knows; none of them is null."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(_key, path))}]"] if path and (plain or not inner) else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    text = "\n".join(lines) + "\n" if lines else ""
    parts = [text, *(write(value, (*path, key)) for key, value in inner.items())]
    return "\n".join(part for part in parts if part)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for a half of a pair, which no setting can hold; DEL must be escaped there.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=False)
