"""Texts that devices say, as every database can keep them."""

from typing import TypeVar

T = TypeVar("T", str, str | None)


def clean(text: T) -> T:
    """Return `text` with its NUL characters replaced: PostgreSQL keeps none, and a device-tree's strings end with one."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text and "\0" in text else text
