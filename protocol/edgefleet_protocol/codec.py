"""Documents to bytes and back.

A document says its `format` and the `minimum_agent` that can obey it. Fields that this version does not know are
ignored. Encoding is deterministic, but nobody re-encodes what somebody else wrote: signatures and digests are over
the bytes as they came.
"""

import hashlib
import re
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from .errors import BadDocument, TooLarge, TooNew

FORMAT = 1
_VERSION = re.compile(r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}\Z")

MAX_DOCUMENT_BYTES = 1_000_000
"""The largest document of any kind; TUF's limit for targets metadata is the same (facts in docs/decisions)."""


Time = Annotated[datetime, Meta(tz=True)]
"""A time with its offset: one without cannot be compared to one with."""
Moment = Annotated[float, Meta(ge=-6e10, le=2.5e11)]
"""Seconds since 1970 by a device's clock, which may be wrong, but lies within what a calendar can name (years 69 to 9892)."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a document: frozen, fields by name, defaults left out of the bytes."""


class Document(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What is sent on its own. `format` and `minimum_agent` are always in the bytes."""

    format: int = FORMAT
    minimum_agent: str = "0.1.0"


class _Head(msgspec.Struct):
    format: int
    minimum_agent: str = "0.0.0"


D = TypeVar("D", bound=Document)


def encode(document: Document) -> bytes:
    """Return the JSON bytes of `document`: UTF-8, fields in a fixed order, no spaces."""
    return msgspec.json.encode(document, order="deterministic")


def decode(data: bytes, kind: type[D], *, agent_version: str | None = None, limit: int = MAX_DOCUMENT_BYTES) -> D:
    """Return `data` as a document of `kind`.

    agent_version: when given, a document whose `minimum_agent` is later is refused.
    Raises TooLarge beyond `limit` bytes, TooNew for a later format or agent, BadDocument for all else.
    """
    name = kind.__name__
    if len(data) > limit:
        raise TooLarge(f"a {name} document in bytes", len(data), limit)
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format > FORMAT:
            raise TooNew(
                f"{name} has format {head.format} and this version reads up to {FORMAT}: update this side first"
            )
        if head.format < 1:
            raise BadDocument(f"{name} has format {head.format}; formats count from 1")
        if agent_version is not None and version_tuple(head.minimum_agent) > version_tuple(agent_version):
            raise TooNew(f"{name} needs agent {head.minimum_agent} and this is {agent_version}: update the agent first")
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadDocument(f"not a {name} document: {error}") from error


def version_tuple(text: str) -> tuple[int, int, int]:
    """Return `1.2.3` as (1, 2, 3); raise BadDocument for anything else."""
    if not _VERSION.match(text):
        raise BadDocument(f"{text!r} is not a version: write three numbers, as in 1.2.3")
    major, minor, patch = text.split(".")
    return int(major), int(minor), int(patch)


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
