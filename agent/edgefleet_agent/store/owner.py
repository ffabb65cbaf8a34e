"""What the device's owner decided: pins and holds. Local, durable, and above every rollout.

`edgefleet agent pin|hold|release` write `STATE/owner.json`, whole and synced; the agent only reads it. So they work while the
agent is down and without network, and who may write into the state folder may decide.
"""

from pathlib import Path

import msgspec

from edgefleet_protocol.names import ModelName, Sha256

from . import durable
from .disk import Disk

FILE = "owner.json"


class Pin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """This release and no other. It is one that was verified here."""

    release: str
    release_sha256: Sha256
    by: str
    since_s: float


class OwnerHold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing new begins. What serves goes on serving, and goes back when it misbehaves."""

    by: str
    since_s: float
    until_s: float | None = None
    """By the device's clock; None: until it is released."""


class Hands(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole file. `trouble` is never in it: it says why it could not be read."""

    pins: dict[ModelName, Pin] = {}
    holds: dict[ModelName, OwnerHold] = {}
    released: dict[ModelName, float] = {}
    """When the owner last ended pin, hold and quarantine of a model: strikes before it count no more."""
    trouble: str = ""

    def hold_of(self, model: str, now_s: float, clock_trusted: bool) -> str | None:
        """Return in words that, until when and by whom `model` is held; None when it is not."""
        if self.trouble:
            return f"held: {self.trouble}; write it anew with `edgefleet agent release MODEL`"
        hold = self.holds.get(model)
        if hold is None:
            return None
        if hold.until_s is None:
            return f"held by {hold.by} until it is released"
        if not clock_trusted:
            return f"held by {hold.by} until a time, and the clock of this device is not set"
        return f"held by {hold.by} until {_utc(hold.until_s)}" if now_s < hold.until_s else None


def read(disk: Disk, state: Path) -> Hands:
    """Return what the owner decided. A file that cannot be read holds everything: a decision is not forgotten."""
    path = state / FILE
    if disk.size(path) is None:
        return Hands()
    try:
        return msgspec.json.decode(disk.read(path), type=Hands)
    except (msgspec.MsgspecError, OSError, UnicodeDecodeError) as error:
        return Hands(trouble=f"{FILE} cannot be read ({str(error)[:200]})")


def write(disk: Disk, state: Path, hands: Hands) -> None:
    """Make `hands` what the owner decided; a cut leaves the old or the new."""
    durable.write(disk, state / FILE, msgspec.json.encode(msgspec.structs.replace(hands, trouble="")))


def _utc(moment_s: float) -> str:
    from datetime import datetime, timezone

    return f"{datetime.fromtimestamp(moment_s, timezone.utc):%Y-%m-%d %H:%M} UTC"
