"""Which devices are meant, as a query: `region=eu-west tag=door class=pi5 status=online`. Pure.

Every term must hold. A term's values are given with commas, and any of them will do; `!=` is for none of them. A value that ends in
`*` is the beginning of one. Several terms of one key, as of `tag`, must all hold.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..errors import BadRequest
from ..store.devices import Device

MAX_LENGTH = 1000
_TERM = re.compile(r"([a-z]+)(!?=)([A-Za-z0-9._/@:*,-]+)\Z")
_VALUE = re.compile(r"[A-Za-z0-9._/@:-]+\*?\Z|\*\Z")
STATUSES = ("online", "offline", "frozen", "quarantined", "unassigned")


class BadQuery(BadRequest):
    """A query that cannot be read. The message names the term, and what may stand there."""


@dataclass(frozen=True)
class Term:
    """One condition."""

    key: str
    values: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.negated else '='}{','.join(self.values)}"


@dataclass(frozen=True)
class Query:
    """All of `terms`."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def matches(self, device: Device) -> bool:
        """Return whether a device is meant."""
        return all(_holds(term, device) for term in self.terms)

    def regions(self) -> frozenset[str] | None:
        """Return the only regions in which devices may be meant, where the query names them; None where it does not."""
        named = [
            frozenset(term.values)
            for term in self.terms
            if term.key == "region" and not term.negated and not any(value.endswith("*") for value in term.values)
        ]
        return frozenset.intersection(*named) if named else None


def parse(text: str) -> Query:
    """Return the query that `text` says; raise BadQuery for one that says nothing, or what nobody understands."""
    if len(text) > MAX_LENGTH:
        raise BadQuery(f"the query has {len(text)} characters and may have {MAX_LENGTH}")
    words = text.split()
    if not words:
        raise BadQuery(f"an empty query means nobody: for every device write id=*. Terms are KEY=VALUE, of {_KEYS}")
    return Query(tuple(map(_term, words)))


def _term(word: str) -> Term:
    found = _TERM.match(word)
    if found is None:
        raise BadQuery(f"{word[:80]!r} is no term: write KEY=VALUE or KEY!=VALUE, as in tag=door. Keys are {_KEYS}")
    key, sign, values = found[1], found[2], tuple(found[3].split(","))
    if key not in KEYS:
        raise BadQuery(f"{key!r} is no key. Keys are {_KEYS}")
    for value in values:
        if not _VALUE.match(value):
            raise BadQuery(
                f"{word[:80]!r} has the value {value!r}: a * may stand at the end only, and no value is empty"
            )
        if key == "status" and value not in STATUSES:
            raise BadQuery(f"no device has the status {value!r}. There are: {', '.join(STATUSES)}")
    return Term(key, values, sign == "!=")


def _statuses(device: Device) -> Iterable[str]:
    yield "online" if device.online else "offline"
    if device.frozen:
        yield "frozen"
    if device.alarm is not None:
        yield "quarantined"
    if device.assigned_number == 0:
        yield "unassigned"


KEYS: Mapping[str, Callable[[Device], Iterable[str | None]]] = {
    "id": lambda device: (device.id,),
    "region": lambda device: (device.region,),
    "tag": lambda device: device.tags,
    "class": lambda device: (device.hardware.hardware_class,) if device.hardware else (),
    "board": lambda device: (device.hardware.board,) if device.hardware else (),
    "arch": lambda device: (device.hardware.arch,) if device.hardware else (),
    "agent": lambda device: (device.state.agent_version,) if device.state else (),
    "status": _statuses,
    "model": lambda device: (row.model for row in device.state.models) if device.state else (),
    "phase": lambda device: (row.phase for row in device.state.models) if device.state else (),
    "release": lambda device: (
        (row.running.release for row in device.state.models if row.running) if device.state else ()
    ),
    "variant": lambda device: (
        (row.running.variant for row in device.state.models if row.running) if device.state else ()
    ),
}
"""What a device has, by key; a device may have several of one."""
_KEYS = ", ".join(KEYS)


def _holds(term: Term, device: Device) -> bool:
    has = any(_is(value, there) for there in KEYS[term.key](device) if there is not None for value in term.values)
    return has != term.negated


def _is(value: str, there: str) -> bool:
    return there.startswith(value[:-1]) if value.endswith("*") else there == value


def as_audience(query: Query) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return tags (all of them) and hardware classes (any of them) that say the same as `query` but for its region.

    So a rollout's audience can be what devices judge for themselves, those that come later too. None where only a list of
    devices says it: for a status, a negation, or one of several tags.
    """
    tags: list[str] = []
    hardware: set[str] | None = None
    for term in query.terms:
        plain = not term.negated and not any(value.endswith("*") for value in term.values)
        if term.key == "region" and plain:
            continue
        if term.key == "tag" and plain and len(term.values) == 1:
            tags += term.values
        elif term.key == "class" and plain:
            hardware = set(term.values) if hardware is None else hardware & set(term.values)
        else:
            return None
    if hardware is not None and not hardware:
        return None
    return tuple(dict.fromkeys(tags)), tuple(sorted(hardware or ()))
