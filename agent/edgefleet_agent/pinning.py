"""Pins by command: a release that was verified here, for a while. The owner's own pin is above them, the region's wish below."""

from datetime import datetime, timezone

import msgspec
from msgspec.structs import replace

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Assignment, ReleaseRef
from edgefleet_protocol.trust import RELEASES_ROLE, release_path

from .journal import Journal
from .observe import Documents, Now, interface_change
from .rules.seen import final_failure
from .store import Store
from .store.facts import FleetPin, ModelFacts

DEFAULT_S = 7 * 86400.0
LONGEST_S = 366 * 86400.0


class _Target(msgspec.Struct):
    hashes: dict[str, str] = {}


class _Targets(msgspec.Struct):
    targets: dict[str, _Target] = {}


class _Listed(msgspec.Struct):
    """What TUF's targets metadata says, as far as it matters here."""

    signed: _Targets


class CannotPin(Exception):
    """It is not pinned, and why."""


def releases_here(store: Store, documents: Documents, model: str) -> dict[str, str]:
    """Return the digest of each release of a model that was verified on this device, by name: active, the one before, wished."""
    facts = store.facts.facts.model(model)
    here = {slot.release: slot.release_sha256 for slot in (facts.previous, facts.active) if slot is not None}
    for sha256 in store.facts.trust.manifests:
        found = documents.release(sha256)
        if isinstance(found, Release) and found.model == model:
            here.setdefault(found.name, sha256)
    return here


def previous(facts: ModelFacts, model: str) -> tuple[str, str]:
    """Return name and digest of the release to roll back to; raise CannotPin where there is none that was proven here."""
    if facts.previous is None:
        runs = f"{facts.active.release} runs" if facts.active else "nothing runs"
        raise CannotPin(
            f"{runs} and no release of {model} was proven here before it: pin another one, or roll out anew"
        )
    return facts.previous.release, facts.previous.release_sha256


def pin(
    store: Store,
    documents: Documents,
    model: str,
    release: str,
    *,
    by: str,
    seconds: float,
    moment: Now,
) -> FleetPin:
    """Return the pin to keep; raise CannotPin, with what there is instead."""
    if not moment.clock_trusted:
        raise CannotPin("the clock of this device is not set, so nobody could say when the pin ends")
    if not 60.0 <= seconds <= LONGEST_S:
        raise CannotPin(f"a pin lasts from a minute to {LONGEST_S / 86400:.0f} days, and not {seconds:g} s")
    here = releases_here(store, documents, model)
    if release not in here:
        raise CannotPin(f"{release} is not on this device; of {model} there are {', '.join(sorted(here)) or 'none'}")
    sha256, facts = here[release], store.facts.facts.model(model)
    if why := not_listed(store, release, sha256):
        raise CannotPin(why)
    found = documents.release(sha256)
    if not isinstance(found, Release):
        raise CannotPin(found or f"the manifest of {release} is not on this device any more")
    if failure := final_failure(facts, sha256):
        raise CannotPin(f"{release} failed here ({failure.stage}): {failure.reason}. To try it anew first: retry")
    ref = ReleaseRef(path=release_path(release), sha256=sha256)
    if why := interface_change(found, Assignment(model=model, release=ref), facts, documents):
        raise CannotPin(f"{why}. Roll it out with a rollout that accepts that")
    return FleetPin(
        release=release, release_sha256=sha256, by=by[:64], since_s=moment.wall_s, until_s=moment.wall_s + seconds
    )


def not_listed(store: Store, release: str, sha256: str) -> str | None:
    """Return why the holders of the release keys do not want a release to run any more, as far as is verified here, or None.

    A command is signed by the server alone. Without this, whoever has its keys could bring back what was withdrawn.
    """
    data = store.facts.trust.cache.get(f"{RELEASES_ROLE}.json")
    if data is None:
        return "this device has not verified yet which releases are listed"
    try:
        listed = msgspec.json.decode(data, type=_Listed).signed.targets.get(release_path(release))
    except msgspec.MsgspecError as error:  # written by the look, which read it: a torn file at most
        return f"what is kept of the list of releases cannot be read: {error}"
    if listed is None or listed.hashes.get("sha256") != sha256:
        return f"{release} is not listed by the holders of the release keys any more: it was withdrawn"
    return None


def end_withdrawn(store: Store, journal: Journal) -> None:
    """End pins of releases that are not listed any more; after a look."""
    for model, facts in store.facts.facts.models.items():
        if facts.pin is not None and (why := not_listed(store, facts.pin.release, facts.pin.release_sha256)):
            told = journal.event("unpinned", f"{why}: rollouts decide again", model, release=facts.pin.release)
            journal.commit(model, replace(facts, pin=None), told)


def expire(store: Store, journal: Journal, moment: Now) -> None:
    """End the pins whose time is over. Without a clock that can be trusted they stay: it may be 1970."""
    if not moment.clock_trusted:
        return
    for model, facts in store.facts.facts.models.items():
        if facts.pin is not None and moment.wall_s >= facts.pin.until_s:
            text = f"the pin of {facts.pin.release} by {facts.pin.by} is over: rollouts decide again"
            told = journal.event("unpinned", text, model, release=facts.pin.release)
            journal.commit(model, replace(facts, pin=None), told)


def utc(moment_s: float) -> str:
    """Return a time for people."""
    return f"{datetime.fromtimestamp(moment_s, timezone.utc):%Y-%m-%d %H:%M} UTC"
