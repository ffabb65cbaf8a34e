"""The devices of a region as a plan needs them: few columns, and of each state only what matters."""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, select

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import Failure, Measured

from ..rollouts.plan import Known
from .devices import of_regions
from .schema import devices

AT_ONCE = 5000
"""Rows that are fetched together: a hundred thousand states at once would be some hundred megabytes."""


class _Runs(msgspec.Struct, frozen=True):
    release_sha256: str
    variant: str


class _Model(msgspec.Struct, frozen=True):
    model: str
    running: _Runs | None = None
    measured: Annotated[tuple[Measured, ...], Meta(max_length=64)] = ()
    failures: Annotated[tuple[Failure, ...], Meta(max_length=64)] = ()
    wanted_sha256: str | None = None
    held: str | None = None
    pinned: str | None = None
    quarantined: str | None = None


class _State(msgspec.Struct, frozen=True):
    """What a plan reads of a DeviceState. It was checked whole when it came."""

    hardware: msgspec.Raw = msgspec.Raw(b"null")
    models: tuple[_Model, ...] = ()


def members(connection: Connection, region: str, model: str) -> Iterator[Known]:
    """Yield the devices of a region, by name."""
    read = msgspec.json.Decoder(_State)
    tags_of = msgspec.json.Decoder(tuple[str, ...])
    hardware_of: dict[bytes, Hardware | None] = {b"null": None}
    tags_known: dict[str, tuple[str, ...]] = {}
    columns = devices.c
    query = (
        select(
            columns.id, columns.tags, columns.assigned_number, columns.assigned_tags, columns.state, columns.alarm,
            columns.joined_s, columns.frozen, columns.online,
        )
        .where(of_regions([region]))
        .order_by(columns.id)
        .execution_options(yield_per=AT_ONCE)
    )  # fmt: skip
    for name, said_tags, assigned, assigned_tags, state, alarm, joined_s, frozen, online in connection.execute(query):
        text = assigned_tags if assigned > 0 else said_tags
        tags = tags_known.get(text)
        if tags is None:
            tags = tags_known[text] = tags_of.decode(text)
        found = _NOTHING
        if state is not None:
            try:
                found = read.decode(state)
            except msgspec.MsgspecError:
                found = _NOTHING  # as elsewhere: a version that reads less of it says nothing rather than die
        raw = bytes(found.hardware)
        if raw not in hardware_of:
            hardware_of[raw] = _hardware(raw)
        mine = next((row for row in found.models if row.model == model), None)
        runs = mine.running if mine is not None else None
        yield Known(
            id=name,
            tags=tags,
            hardware=hardware_of[raw],
            hardware_key=raw,
            measured=mine.measured if mine is not None else (),
            failures=mine.failures if mine is not None else (),
            running=(runs.release_sha256, runs.variant) if runs is not None else None,
            quarantined=alarm is not None,
            frozen=frozen or "",
            own=mine,
            joined_s=joined_s,
            online=online,
        )


def _hardware(raw: bytes) -> Hardware | None:
    try:
        return msgspec.json.decode(raw, type=Hardware)
    except msgspec.MsgspecError:
        return None


_NOTHING = _State()
