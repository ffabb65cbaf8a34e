"""`edgefleet agent pin|hold|release`: the owner's hands. They write one small file, and the agent notices it at its next turn."""

import argparse
import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label, parse_release_name

from .config import Config
from .errors import AgentError, BadOption
from .observe import Documents, models
from .pinning import releases_here
from .store import Store
from .store.disk import Disk
from .store.owner import Hands, OwnerHold, Pin, read, write

NOTICED = "the agent notices it within half a minute; if it does not run now, when it starts"
OWNERS_VERBS = ("pin", "hold", "release")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S = 366 * 86400.0


class NotFound(AgentError):
    """No such model or release on this device. The message says which there are."""


class NotAllowed(AgentError):
    """Only who may write into the state folder decides."""


def add_verbs(add: Callable[[str, Callable[[Config, argparse.Namespace], int], str], argparse.ArgumentParser]) -> None:
    """Add the three verbs. add(verb, do, words) makes a parser that has `--config` and `--json`."""
    pin = add("pin", _pin, "keep one release of a model, whatever the fleet rolls out; works offline")
    pin.add_argument("model", metavar="MODEL", help="as the fleet calls it, as in fashion")
    which = pin.add_mutually_exclusive_group(required=True)
    which.add_argument("release", nargs="?", metavar="RELEASE", help="as in fashion/3: one that is on this device")
    which.add_argument("--current", action="store_true", help="the release that serves now")
    hold = add("hold", _hold, "let nothing new begin for a model; what serves goes on serving; works offline")
    hold.add_argument("model", metavar="MODEL", help="as the fleet calls it, as in fashion")
    how_long = hold.add_mutually_exclusive_group()
    how_long.add_argument(
        "--until", metavar="TIME", help="2027-01-15T22:00 (this device's local time unless it says another)"
    )
    how_long.add_argument(
        "--for", dest="how_long", metavar="DURATION", help="30m, 8h or 7d; without either: until `release`"
    )
    release = add("release", _release, "end pin, hold and quarantine of a model: rollouts decide again; works offline")
    release.add_argument("model", metavar="MODEL", help="as the fleet calls it, as in fashion")


def _pin(config: Config, arguments: argparse.Namespace) -> int:
    model = _known(config, arguments.model)
    name, sha256 = _release_here(config, model, arguments.release)
    fact = Pin(release=name, release_sha256=sha256, by=_who(), since_s=time.time())
    _change(config, lambda hands: replace(hands, pins={**hands.pins, model: fact}))
    return _say(arguments, f"{model}: pinned to {name} by {fact.by}", model=model, pinned=name, sha256=sha256)


def _hold(config: Config, arguments: argparse.Namespace) -> int:
    model, now_s = _known(config, arguments.model), time.time()
    until_s = until(arguments.until, arguments.how_long, now_s)
    fact = OwnerHold(by=_who(), since_s=now_s, until_s=until_s)
    _change(config, lambda hands: replace(hands, holds={**hands.holds, model: fact}))
    words = Hands(holds={model: fact}).hold_of(model, now_s, clock_trusted=True)
    return _say(arguments, f"{model}: {words}", model=model, held=True, until_s=until_s)


def _release(config: Config, arguments: argparse.Namespace) -> int:
    model = _label(arguments.model)

    def freed(hands: Hands) -> Hands:
        return replace(
            hands,
            pins={name: row for name, row in hands.pins.items() if name != model},
            holds={name: row for name, row in hands.holds.items() if name != model},
            released={**hands.released, model: time.time()},
        )

    _change(config, freed)
    return _say(arguments, f"{model}: released, rollouts decide again", model=model, pinned=None, held=False)


def until(at: str | None, how_long: str | None, now_s: float) -> float | None:
    """Return the end of a hold in seconds since 1970; None for one without end. Raises BadOption."""
    if how_long is not None:
        found = re.fullmatch(r"(\d{1,6})([mhd])", how_long)
        if found is None:
            raise BadOption(f"--for is {how_long!r}: write a number and m, h or d, as in 8h")
        seconds = int(found[1]) * _UNITS[found[2]]
    elif at is not None:
        try:
            seconds = datetime.fromisoformat(at).astimezone().timestamp() - now_s
        except (ValueError, OverflowError) as error:
            raise BadOption(f"--until is {at!r}: write a date and a time, as in 2027-01-15T22:00") from error
    else:
        return None
    if not 0 < seconds <= LONGEST_S:
        ends = datetime.fromtimestamp(now_s) + timedelta(seconds=max(-1e9, min(seconds, 1e9)))
        raise BadOption(f"that would end at {ends:%Y-%m-%d %H:%M}; it must be ahead, and within a year")
    return now_s + seconds


def _known(config: Config, name: str) -> str:
    """Return the model's name when this device knows it."""
    model = _label(name)
    store = _store(config)
    known = models(store.facts.facts, Documents(store).rollout())
    if model not in known:
        raise NotFound(f"{model} is no model of this device; it knows {', '.join(known) or 'none yet'}")
    return model


def _label(name: str) -> str:
    try:
        return check_label("model", name)
    except BadName as error:
        raise NotFound(str(error)) from error


def _store(config: Config) -> Store:
    from .status import ReadOnlyDisk  # not needed by an agent that runs

    return Store(ReadOnlyDisk(), config.state)


def _release_here(config: Config, model: str, release: str | None) -> tuple[str, str]:
    """Return name and digest of a release that was verified on this device: active, the one before, or wished."""
    store = _store(config)
    documents, facts = Documents(store), store.facts.facts.model(model)
    if release is None:
        if facts.active is None:
            raise NotFound(f"nothing serves {model} yet, so there is nothing to pin")
        return facts.active.release, facts.active.release_sha256
    here = releases_here(store, documents, model)
    try:
        parse_release_name(release)
    except BadName as error:
        raise NotFound(str(error)) from error
    if release not in here:
        raise NotFound(f"{release} is not on this device; of {model} there are {', '.join(sorted(here)) or 'none'}")
    return release, here[release]


def _change(config: Config, change: Callable[[Hands], Hands]) -> None:
    disk = Disk()
    try:
        with _alone(config.state):
            write(disk, config.state, change(read(disk, config.state)))
    except PermissionError as error:
        raise NotAllowed(
            f"only who may write into {config.state} decides about this device's models: {error}"
        ) from error
    except FileNotFoundError as error:
        raise NotFound(f"there is no {config.state}: no agent has run with this configuration yet") from error


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two owners at once come one after the other."""
    handle = os.open(state / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _who() -> str:
    """Return who types: behind `sudo`, the person."""
    import pwd

    if name := os.environ.get("SUDO_USER"):
        return name[:64]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _say(arguments: argparse.Namespace, words: str, **facts: object) -> int:
    print(json.dumps(facts) if arguments.json else f"{words}; {NOTICED}")
    return 0
