"""Looking: what is wished of a model, and how it stands here. Reads stores and processes, changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone, tzinfo

import msgspec

from edgefleet_protocol.audience import models_of, wish_for
from edgefleet_protocol.class_table import with_class_table
from edgefleet_protocol.codec import decode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.interface_change import differences
from edgefleet_protocol.manifest import Chunk, Release
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.rollout import Assignment, Policy, ReleaseRef, Rollout
from edgefleet_protocol.trust import release_path

from . import __version__
from .conditions import Surroundings
from .live import Live
from .placing import Placing
from .recovery import candidate, variants_here
from .rules.governor import spare
from .rules.seen import Desired, Lease, Observed, Strain, failed_variants, to_serve
from .slots import slot_name
from .store import Store
from .store.facts import Facts, FleetPin, ModelFacts
from .store.owner import Hands, Pin


@dataclass
class Documents:
    """Decoded documents by digest, so that each is read once."""

    store: Store
    _releases: dict[str, Release | str] = field(default_factory=dict)
    _rollout: tuple[str | None, Rollout | str | None] = (None, None)

    def release(self, sha256: str) -> Release | str | None:
        """Return a release, or in words why it cannot be obeyed; None when it is not here."""
        if sha256 not in self._releases:
            data = self.store.facts.document(sha256)
            if data is None:
                return None
            try:
                release = decode(data, Release, agent_version=__version__)
                check_release(release)
                self._releases[sha256] = release
            except ProtocolError as error:
                self._releases[sha256] = f"the release cannot be obeyed: {error}"
        return self._releases[sha256]

    def rollout(self) -> Rollout | str | None:
        """Return the region's verified wish, or in words why it cannot be read; None when there is none."""
        digest = self.store.facts.trust.rollout
        if digest is None:
            return None
        if self._rollout[0] != digest:
            data = self.store.facts.document(digest)
            try:
                wish = decode(data, Rollout, agent_version=__version__) if data is not None else "it is not on the disk"
            except ProtocolError as error:
                wish = f"the rollout cannot be obeyed: {error}"
            self._rollout = (digest, wish)
        return self._rollout[1]

    def forget_others(self, wanted: set[str]) -> None:
        """Keep the memory flat."""
        self._releases = {name: row for name, row in self._releases.items() if name in wanted}


def models(facts: Facts, rollout: Rollout | str | None) -> tuple[str, ...]:
    """Return every model that is wished for or known here."""
    wished = models_of(rollout) if isinstance(rollout, Rollout) else ()
    return tuple(dict.fromkeys((*wished, *facts.models)))


def desired(
    model: str,
    device: str,
    facts: Facts,
    hardware: Hardware,
    store: Store,
    documents: Documents,
    hands: Hands | None = None,
) -> Desired:
    """Return what is wished of `model` on this device: by its owner, else by its region."""
    want = _of_region(model, device, facts, hardware, store, documents)
    pin = (hands.pins.get(model) if hands is not None else None) or _by_command(facts.model(model).pin)
    want = want if pin is None else _pinned(want, pin, documents)
    back = candidate(facts.model(model), want.sha256)
    return want if back is None else _recovered(want, back, store, documents)


def _by_command(pin: FleetPin | None) -> Pin | None:
    """Return a pin that came by command as the owner's would be; who made it says how long it holds."""
    if pin is None:
        return None
    until = f"{datetime.fromtimestamp(pin.until_s, timezone.utc):%Y-%m-%d %H:%M} UTC"
    by = f"{pin.by}, by command, until {until}"
    return Pin(release=pin.release, release_sha256=pin.release_sha256, by=by, since_s=pin.since_s)


def _recovered(want: Desired, sha256: str, store: Store, documents: Documents) -> Desired:
    """Return the wish to serve again, from the disk, what was there when the facts were lost. What is wished comes after."""
    release = documents.release(sha256)
    if not isinstance(release, Release):
        return want
    here = variants_here(release, sha256, store)
    if not here:
        return want
    ref = ReleaseRef(path=release_path(release.name), sha256=sha256)
    assignment = Assignment(model=want.model, release=ref)
    words = f"the facts were lost: {release.name} is on the disk and serves again first"
    return replace(
        want,
        assignment=assignment,
        release=msgspec.structs.replace(release, variants=here),
        problem=None,
        why=words,
        recovered=True,
    )


def _pinned(want: Desired, pin: Pin, documents: Documents) -> Desired:
    """Return the owner's wish. It names a release that was verified on this device, so it chooses only among such."""
    words = f"{pin.release} is pinned by {pin.by}"
    if want.assignment is not None and want.sha256 == pin.release_sha256:
        return replace(want, pinned=words)
    if want.assignment is not None:
        words += f", so {want.release.name if want.release else want.assignment.release.path} is not followed"
    assignment = Assignment(
        model=want.model,
        release=ReleaseRef(path=release_path(pin.release), sha256=pin.release_sha256),
        deadline_s=86400.0 * 365,
        accept_interface_change=True,
    )
    release = documents.release(pin.release_sha256)
    if isinstance(release, Release) and release.model == want.model:
        return Desired(want.model, want.policy, assignment, words, release, pinned=words)
    why = release if isinstance(release, str) else f"{words}, and its manifest is not on this device any more"
    return Desired(want.model, want.policy, assignment, words, None, why, pinned=words)


def _of_region(
    model: str, device: str, facts: Facts, hardware: Hardware, store: Store, documents: Documents
) -> Desired:
    """Return what the region wishes of `model` on this device."""
    rollout = documents.rollout()
    if rollout is None:
        return Desired(model, Policy(), why="no rollout is signed for this device's region, or it has no region yet")
    if isinstance(rollout, str):
        return Desired(model, Policy(), why=rollout)
    assignment, why = wish_for(model, device, facts.tags, hardware.hardware_class, rollout, facts.joined)
    if assignment is None:
        return Desired(model, rollout.policy, why=why)
    refused = store.facts.trust.refused.get(assignment.release.path)
    if refused is not None:
        return Desired(model, rollout.policy, assignment, why, None, f"{assignment.release.path} is refused: {refused}")
    release = documents.release(assignment.release.sha256)
    if isinstance(release, Release) and release.model != model:
        release = f"{assignment.release.path} is a release of {release.model} and is wished for {model}"
    if isinstance(release, Release):
        release = interface_change(release, assignment, facts.model(model), documents) or release
    if isinstance(release, str):
        return Desired(model, rollout.policy, assignment, why, None, release)
    if isinstance(release, Release):
        release = with_class_table(release, assignment.measured)
    return Desired(model, rollout.policy, assignment, why, release)


def interface_change(release: Release, assignment: Assignment, facts: ModelFacts, documents: Documents) -> str | None:
    """Return why a release must not take over from the one that runs; None when applications will not notice.

    The way back to what ran before it is free: applications knew that one.
    """
    known = [slot.release_sha256 for slot in (facts.active, facts.previous) if slot is not None]
    running = documents.release(known[0]) if facts.active is not None else None
    if assignment.accept_interface_change or assignment.release.sha256 in known or not isinstance(running, Release):
        return None
    found = differences(running.interface, release.interface)
    if not found:
        return None
    return f"{release.name} changes the interface of {running.name}, and its rollout does not accept that: {'; '.join(found)}"


@dataclass(frozen=True)
class Now:
    """The moment, by both clocks."""

    monotonic_s: float
    wall_s: float
    clock_trusted: bool


@dataclass(frozen=True)
class Around:
    """What a model shares with the others, and what the device's people and applications say of it."""

    zone: tzinfo | None = None
    held: str | None = None
    hold_ends_s: float | None = None
    released_s: float = 0.0
    leases: tuple[Lease, ...] = ()
    may_try: bool = True
    strain: Strain = field(default_factory=Strain)


def observe(
    want: Desired,
    facts: ModelFacts,
    live: Live,
    store: Store,
    hardware: Hardware,
    around: Surroundings,
    troubles: Mapping[str, str],
    now: Now,
    shared: Around | None = None,
    placing: Placing | None = None,
    documents: Documents | None = None,
) -> Observed:
    """Return how one model stands on this device."""
    rest = (shared or Around(), placing or Placing(store, hardware), documents)
    seen = _observe(want, facts, live, store, hardware, around, troubles, now, *rest, None)
    live.aim = spare(seen, want)
    if live.aim is None:
        return seen
    return _observe(want, facts, live, store, hardware, around, troubles, now, *rest, live.aim)


def _observe(
    want: Desired,
    facts: ModelFacts,
    live: Live,
    store: Store,
    hardware: Hardware,
    around: Surroundings,
    troubles: Mapping[str, str],
    now: Now,
    shared: Around,
    placing: Placing,
    documents: Documents | None,
    aim: str | None,
) -> Observed:
    slots = store.releases.slots(want.model)
    chosen, provider = "", ""
    missing: tuple[Chunk, ...] = ()
    if want.release is not None and want.sha256 is not None and facts.choice is not None:
        variant = want.release.variant(aim or to_serve(facts, want.sha256) or "")
        if variant is not None:
            chosen = slot_name(want.sha256, variant.name)
            place = placing.trial(facts, want.release, want.sha256, variant)
            provider = place.provider if place else ""
            if chosen not in slots:
                missing = missing_chunks(want.release, variant.name, store)
    trial, asked = live.trial_seen(chosen), live.asked()
    return Observed(
        model=want.model,
        facts=facts,
        hardware=hardware,
        agent_version=__version__,
        around=around,
        now_s=now.wall_s,
        wish_age_s=wish_age(want.assignment, facts, live, now),
        missing=missing,
        slots=slots,
        trial=trial,
        server=live.server.seen(now.monotonic_s) if live.server else None,
        candidate=live.candidate.seen(now.monotonic_s) if live.candidate and live.candidate.slot == chosen else None,
        asked=asked,
        start_not_before=live.start_not_before,
        crashes_in_a_row=live.crashes_in_a_row,
        probation=live.probation_seen(now.monotonic_s, facts.probation_s),
        troubles=troubles,
        hold=live.hold,
        health=live.health_seen(now.monotonic_s),
        aside=live.aside is not None and live.aside == chosen,
        making_room=live.making_room(),
        stray=(live.trial is not None and live.trial[0] != chosen)
        or (live.candidate is not None and live.candidate.slot != chosen),
        board=placing.board,
        provider=provider,
        served_on=live.server.spec.provider if live.server else "",
        unservable=unservable(facts, documents, placing) if documents else "",
        trial_s=now.monotonic_s - live.trial_since if live.trial_since is not None else 0.0,
        failed=failed_variants(facts, want.sha256),
        aim=aim,
        clock_trusted=now.clock_trusted,
        zone=shared.zone,
        held=shared.held,
        hold_ends_s=shared.hold_ends_s,
        released_s=shared.released_s,
        leases=shared.leases,
        switch_waits_since=live.waits_for("switch"),
        may_try=shared.may_try,
        strain=shared.strain,
        governed_at=live.governed_at,
    )


def unservable(facts: ModelFacts, documents: Documents, placing: Placing) -> str:
    """Return why the active variant cannot run here any more, in words; nothing when it can."""
    active = facts.active
    release = documents.release(active.release_sha256) if active is not None else None
    if active is None or not isinstance(release, Release) or (variant := release.variant(active.variant)) is None:
        return ""
    if placing.hardware.runtime(variant.runtime) is None or placing.serving(
        facts, release, active.release_sha256, variant
    ):
        return ""
    fact = facts.trial(active.slot)
    provider = fact.provider if fact is not None else variant.requires.provider
    return (
        f"{active.release} ({active.variant}) ran on {provider} under another system or GPU, and its release names no "
        "tolerance for another provider that is here"
    )


def missing_chunks(release: Release, variant_name: str, store: Store) -> tuple[Chunk, ...]:
    """Return the chunks of a variant that are not on this device, each once, in order."""
    variant = release.variant(variant_name)
    if variant is None:
        return ()
    chunks = {chunk.sha256: chunk for entry in release.files_for(variant) for chunk in entry.chunks}
    return tuple(chunk for chunk in chunks.values() if chunk.sha256 not in store.chunks)


def wish_age(assignment: Assignment | None, facts: ModelFacts, live: Live, now: Now) -> float | None:
    """Return for how many seconds the release has been wished; None when that must be noted (anew).

    While the clock cannot be trusted only this run of the agent counts; once it can, the wish is noted anew.
    """
    wish = facts.wish
    if assignment is None or wish is None or wish.release_sha256 != assignment.release.sha256:
        return None
    if now.clock_trusted and wish.clock_trusted:
        return max(0.0, now.wall_s - wish.first_seen_s)
    if now.clock_trusted:
        return None
    if live.wish_since is None or live.wish_since[0] != wish.release_sha256:
        live.wish_since = (wish.release_sha256, now.monotonic_s)
    return now.monotonic_s - live.wish_since[1]
