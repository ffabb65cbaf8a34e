"""What is wrong with a value that people wrote, in our own words: its name, what it is, and what it must be.

Settings of agent and server and what the API is sent are all refused by it. The words of msgspec that it reads are those of 0.18 to 0.20.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from .names import DeviceId, FileName, VariantName
from .rollout import InterfacePattern, TimeOfDay

T = TypeVar("T")

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "path": "a path in quotes",
    "object": "a [section] of keys",
    "array": "a list",
    "bool": "true or false",
    "null": "",
}
PATTERNS = {
    repr(get_args(kind)[1].pattern): words
    for kind, words in (
        (DeviceId, "a name: 1 to 64 of a-z, 0-9 and -, with a letter or digit at either end"),
        (VariantName, "a variant's name, as in p30-distil-int8"),
        (FileName, "a relative path of at most four parts, without `..`"),
        (TimeOfDay, "a time of day, as in 22:30"),
        (InterfacePattern, "a network interface, as in eth0, or its beginning, as in wwan*"),
    )
}
"""Of the regular expressions of this protocol, what they ask for."""
BOUNDS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}
LONGEST = 80


def converted(
    data: Any,
    kind: type[T],
    where: str,
    raises: Callable[[str], Exception],
    dec_hook: Callable[[type, Any], Any] | None = None,
) -> T:
    """Return `data` as `kind`; raise what `raises` makes of the words. where: the name of `data` itself; empty for a whole file."""
    try:
        return msgspec.convert(data, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        raise raises(in_words(str(error), data, kind, where)) from error


def in_words(words: str, data: Any, kind: Any = None, where: str = "") -> str:
    """Return msgspec's `words` on `data` as ours. kind: what was wanted, by which the values of a choice are listed."""
    said, _, path = words.partition(" - at `$")
    path = path.rstrip("`")
    steps = re.findall(r"\.([^.\[]+)|\[([^\]]+)\]", path)
    value, wanted = data, kind
    for name, place in steps:
        value, wanted = _inner(value, name or place), _inner_kind(wanted, name)
    name = f"{where}{path}".lstrip(".") or "it"
    if lacking := re.fullmatch(r"Object missing required field `([^`]+)`", said):
        return f"{f'{where}{path}.'.lstrip('.')}{lacking[1]} is missing"
    choice = re.fullmatch(r"Invalid enum value (.*)", said, re.DOTALL)
    shown = choice[1] if choice else repr(value)
    # msgspec does not say under which key of a mapping it found the value.
    has = (
        ""
        if path.endswith("[...]") and not choice
        else f" is {shown[:LONGEST]}{'…' if len(shown) > LONGEST else ''} and"
    )
    if choice and (choices := sorted(map(str, _choices(wanted)))):
        return f"{name}{has} must be one of {', '.join(choices)}"
    allowed = re.fullmatch(r"Expected `([^`]+)`(.*)", said, re.DOTALL)
    if allowed is None:
        return f"{name}{has} is refused: {said[:1].lower()}{said[1:]}"
    if pattern := re.fullmatch(r" matching regex ('.*')", allowed[2], re.DOTALL):
        return f"{name}{has} must be {PATTERNS.get(pattern[1], f'a text that matches {pattern[1]}')}"
    kinds = [KINDS.get(each.strip(), each.strip()) for each in allowed[1].split("|")]
    bound = (
        ""
        if allowed[2].startswith(", got")
        else allowed[2].replace(" of length", " with a length").replace("matching regex", "of the form")
    )
    bound = re.sub(r"(?<= )[<>]=?(?= )", lambda sign: BOUNDS[sign[0]], bound, count=1)
    return f"{name}{has} must be {' or '.join(each for each in kinds if each)}{bound}"


def _inner(value: Any, step: str) -> Any:
    if isinstance(value, list | tuple) and step.isdigit():
        return value[int(step)]
    return value.get(step) if isinstance(value, dict) else None


def _inner_kind(kind: Any, name: str) -> Any:
    """Return the kind of a field; of what is in a list or a mapping, the kind of that."""
    for each in (kind, *get_args(kind)):
        if name and isinstance(each, type) and name in getattr(each, "__annotations__", {}):
            return get_type_hints(each).get(name)
    return kind


def _choices(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for each in get_args(kind):
            yield from _choices(each)
