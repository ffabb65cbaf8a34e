"""What msgspec says of a value that does not fit, in the words of people who write TOML and JSON."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect

_WHERE = re.compile(r"^(.*) - at `\$(.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_LIMIT = re.compile(r"^Expected `(\w+)` (<=|<|>=|>) (\S+)$")
_LENGTH = re.compile(r"^Expected `(\w+)` of length (<=|>=) (\d+)$")
_KIND = re.compile(r"^Expected `([^`]+)`, got `[^`]+`$")
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "array": "a list",
    "object": "a table",
    "bool": "true or false",
}
LIMITS = {"<=": "at most", "<": "less than", ">=": "at least", ">": "more than"}
PATTERNS = (
    ("{0,62}", "1 to 64 of a-z, 0-9 and -, with a letter or digit at either end"),
    ("2[0-3]", "a time of day, as in 22:30"),
    ("{1,31}", "a network interface, as in eth0, or its beginning, as in wwan*"),
)
"""A part of a pattern of ours, and what it asks for."""
MOST = 80
"""Characters of the value."""


def misfit(error: Exception, data: Any, kind: Any) -> str:
    """Return the field, its value in `data` and what it must be to be a `kind`; where msgspec's words are of another form, those."""
    found = _WHERE.match(str(error))
    if found is None:
        return str(error)
    words, path = found.groups()
    value: Any = data
    steps = _STEP.findall(path)
    for key, place in steps:
        if isinstance(value, Mapping):
            value = value.get(key, ...)
        elif isinstance(value, list | tuple) and place.isdecimal():
            value = value[int(place)]
        else:
            value = ...
    shown = "" if value is ... else f" is {value!r}" if len(repr(value)) <= MOST else f" is {repr(value)[:MOST]}…"
    return f"{path.removeprefix('.') or 'it'}{shown}{_must(words, inspect.type_info(kind), steps)}"


def _must(words: str, kind: inspect.Type, steps: list[tuple[str, str]]) -> str:
    if words.startswith("Invalid enum value") and (among := _values(kind, steps)):
        return f" and must be one of {', '.join(map(str, among))}"
    if limit := _LIMIT.match(words):
        return f" and must be {LIMITS[limit[2]]} {limit[3].removesuffix('.0')}"
    if length := _LENGTH.match(words):
        what = "characters" if length[1] == "str" else "entries"
        return f" and must have {LIMITS[length[2]]} {length[3]} {what}"
    if found := _KIND.match(words):
        kinds = [KINDS.get(each.strip(), each.strip()) for each in found[1].split("|")]
        return f" and must be {' or '.join(each for each in kinds if each != 'null')}"
    if words.startswith("Expected `str` matching regex"):
        for part, asks in PATTERNS:
            if part in words:
                return f" and must be {asks}"
    return f": {words[:1].lower()}{words[1:]}"


def _values(kind: inspect.Type, steps: list[tuple[str, str]]) -> tuple[Any, ...]:
    """Return what the field at the end of `steps` may be, where that is a short list."""
    if isinstance(kind, inspect.Metadata):
        return _values(kind.type, steps)
    if isinstance(kind, inspect.UnionType):
        return tuple(value for each in kind.types for value in _values(each, steps))
    if not steps:
        return tuple(kind.values) if isinstance(kind, inspect.LiteralType) else ()
    (name, _), rest = steps[0], steps[1:]
    if isinstance(kind, inspect.StructType | inspect.DataclassType):
        return next((_values(field.type, rest) for field in kind.fields if field.encode_name == name), ())
    if isinstance(kind, inspect.DictType):
        return _values(kind.value_type, rest)
    if isinstance(kind, inspect.CollectionType):
        return _values(kind.item_type, rest)
    return ()
