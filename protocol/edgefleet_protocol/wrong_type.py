"""What is wrong with a value that people wrote, in our own words: its name, what it is, and what it must be.

Settings of agent and server and what the API is sent are all refused by it. The words of msgspec that it reads are those of 0.18 to 0.20.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

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
