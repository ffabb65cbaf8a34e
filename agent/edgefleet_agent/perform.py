"""Doing one step. Each is small, and can be done again after a cut at any point of it."""

import errno
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from edgefleet_protocol.choose import choose
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release, Variant
from edgefleet_protocol.messages import Failure, Measured

from . import steps
from .errors import BadAssembly
from .journal import Journal
from .live import Live, Process, Tally
from .observe import Documents, Now, missing_chunks
from .rules.seen import failed_variants
from .seams import Launcher, TrialReport, WorkerSpec
from .slots import slot_name
from .store import Store
from .store.facts import ChoiceFact, ModelFacts, Slot, TrialFact, Wish

HOLD_AFTER_FULL_DISK_S = 60.0
MAX_SECONDS = 1e9
"""What the protocol can say of a time."""
TRIAL_EXTRA_S = 30.0
"""Beyond the signed time to load: for the golden inputs and the measuring."""


class Performer:
    """Moves what `decide` said: stores, processes, facts and events. Has no opinion of its own."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        launcher: Launcher,
        documents: Documents,
        hardware: Hardware,
        threads: int,
        drain_s: float,
        golden_deadline_s: float,
    ) -> None:
        self.hardware = hardware
        self.journal, self.store, self.launcher, self.documents = journal, store, launcher, documents
        self.threads, self.drain_s, self.golden_deadline_s = threads, drain_s, golden_deadline_s
        self._table: Mapping[type, Callable[[str, Live, Any, Now], None]] = {
            steps.Serve: self._serve,
            steps.Accept: self._accept,
            steps.CountCrash: self._count_crash,
            steps.Restore: self._restore,
            steps.NoteWish: self._note_wish,
            steps.Choose: self._choose,
            steps.Assemble: self._assemble,
            steps.Try: self._try,
            steps.NoteTrial: self._note_trial,
            steps.Load: self._load,
            steps.Activate: self._activate,
            steps.Prove: self._prove,
            steps.Fail: self._fail,
            steps.FallBack: self._fall_back,
        }

    def perform(self, model: str, live: Live, step: steps.Step, now: Now) -> bool:
        """Do `step`; return whether something changed, so that it is worth looking again at once.

        A full or failing disk is no reason to stop: the step is undone, said, and tried again later.
        """
        do = self._table.get(type(step))
        if do is None:
            return False
        try:
            do(model, live, step, now)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = f"{'no space: ' if full else 'the disk failed: '}{error.strerror or error} while {step.why}"
            if live.hold is None or live.hold[0] != why:
                self.journal.tell("no-space" if full else "disk-failed", why, model)
            live.hold = (why, now.monotonic_s + HOLD_AFTER_FULL_DISK_S)
            return False
        return True

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model."""
        return self.store.facts.facts.model(model)

    # --- serving what is active

    def _serve(self, model: str, live: Live, step: steps.Serve, now: Now) -> None:
        release = self.documents.release(step.slot.release_sha256)
        if not isinstance(release, Release) or (variant := release.variant(step.slot.variant)) is None:
            live.start_not_before = now.monotonic_s + HOLD_AFTER_FULL_DISK_S
            self.journal.tell("cannot-serve", f"the manifest of {step.slot.release} is not on the disk", model)
            return
        live.serve_by(self._start(model, release, step.slot.release_sha256, variant))

    def _start(self, model: str, release: Release, sha256: str, variant: Variant) -> Process:
        self.launcher.sockets(model)
        spec = self.spec(model, release, sha256, variant, serving=True)
        return Process(slot_name(sha256, variant.name), spec, self.launcher.start(spec))

    def spec(self, model: str, release: Release, sha256: str, variant: Variant, *, serving: bool) -> WorkerSpec:
        """Return everything that a worker of a slot is started with."""
        folder = self.store.releases.path(model, slot_name(sha256, variant.name))
        cpu_limit_s = None if serving else int(4 * variant.requires.load_s + TRIAL_EXTRA_S)
        return WorkerSpec(
            model=model,
            release=release.name,
            release_sha256=sha256,
            variant=variant.name,
            variant_sha256=release.file(variant.files[0]).sha256,
            runtime=variant.runtime,
            provider=variant.requires.provider,
            model_path=folder / variant.files[0],
            interface=release.interface,
            memory_limit_bytes=variant.requires.memory_bytes or None,
            cpu_limit_s=cpu_limit_s,
            golden_folder=folder,
            golden_inputs=release.golden_inputs,
            golden=variant.golden,
            threads=self.threads,
        )

    def _accept(self, model: str, live: Live, step: steps.Accept, now: Now) -> None:
        assert live.server is not None
        live.server.worker.accept()
        live.server.accepting_since = now.monotonic_s
        live.probation = Tally()
        if live.leaving is not None:  # the one that failed served until now, so that no request was lost
            live.leaving.worker.pause()
            live.leaving.worker.stop(self.drain_s)
            live.leaving = None

    def _count_crash(self, model: str, live: Live, step: steps.CountCrash, now: Now) -> None:
        live.serve_by(None)
        live.crashes_in_a_row += 1
        live.start_not_before = now.monotonic_s + step.again_in_s
        facts = self.facts(model)
        if not step.slot.proven:
            facts = replace(facts, crashes=facts.crashes + 1)
        told = self.journal.event("worker-died", step.why, model, release=step.slot.release, variant=step.slot.variant)
        self.journal.commit(model, facts, told)

    def _restore(self, model: str, live: Live, step: steps.Restore, now: Now) -> None:
        """The slot's files may be damaged: put them together again from chunks, or serve the previous one."""
        slot, facts = step.slot, self.facts(model)
        live.crashes_in_a_row += 1  # looked at once in a while, not at every turn
        release = self.documents.release(slot.release_sha256)
        variant = release.variant(slot.variant) if isinstance(release, Release) else None
        if isinstance(release, Release) and variant is not None:
            if slot.slot in self.store.releases.slots(model) and self.store.releases.whole(release, variant, slot.slot):
                return
            try:
                self.store.releases.remove(model, slot.slot)
                self.store.releases.assemble(release, slot.release_sha256, variant, self.store.chunks)
                self.journal.tell(
                    "restored", f"{slot.release} was damaged on the disk and was put together again", model
                )
                return
            except BadAssembly:
                pass
        back = facts.previous
        text = (
            f"{slot.release} is damaged on the disk; {back.release if back else 'nothing'} serves until it is fetched"
        )
        self.journal.commit(
            model, replace(facts, active=back, previous=None), self.journal.event("damaged", text, model)
        )
        live.crashes_in_a_row = 0

    # --- towards the wish

    def _note_wish(self, model: str, live: Live, step: steps.NoteWish, now: Now) -> None:
        wish = Wish(
            release_sha256=step.assignment.release.sha256, first_seen_s=now.wall_s, clock_trusted=now.clock_trusted
        )
        live.hold = None
        self._stop_trial(live)
        self._drop_candidate(live)
        self.journal.commit(model, replace(self.facts(model), wish=wish))

    def _choose(self, model: str, live: Live, step: steps.Choose, now: Now) -> None:
        facts = self.facts(model)
        choice = choose(
            step.release,
            self.hardware,
            step.policy,
            measured=measured_p50(facts, step.release.name),
            failed=failed_variants(facts, step.release_sha256),
        )
        taken = choice.taken.name if choice.taken else None
        fact = ChoiceFact(key=step.key, release_sha256=step.release_sha256, variant=taken, why=choice.why[:2000])
        self._drop_candidate(live)
        told = self.journal.event("chosen", f"{taken or 'none'}: {choice.why}", model, release=step.release.name)
        self.journal.commit(model, replace(facts, choice=fact), told)

    def _assemble(self, model: str, live: Live, step: steps.Assemble, now: Now) -> None:
        try:
            self.store.releases.assemble(step.release, step.release_sha256, step.variant, self.store.chunks)
        except BadAssembly as error:
            if missing_chunks(step.release, step.variant.name, self.store):
                return  # damaged on this disk: it is fetched again
            self._failed(model, step.release.name, step.release_sha256, step.variant.name, "verify", str(error), now)

    def _try(self, model: str, live: Live, step: steps.Try, now: Now) -> None:
        """The count of trials begun is durable before the trial is: a candidate may take the device down."""
        slot = slot_name(step.release_sha256, step.variant.name)
        facts = self.facts(model)
        known = facts.trial(slot) or TrialFact(slot=slot)
        self.journal.commit(model, facts.with_trial(replace(known, begun=known.begun + 1)))
        spec = self.spec(model, step.release, step.release_sha256, step.variant, serving=False)
        wall_limit_s = 2 * step.variant.requires.load_s + TRIAL_EXTRA_S
        self._stop_trial(live)
        live.trial = (slot, self.launcher.try_out(spec, wall_limit_s))

    def _note_trial(self, model: str, live: Live, step: steps.NoteTrial, now: Now) -> None:
        assert live.trial is not None
        slot, trial = live.trial
        report = trial.poll()
        assert report is not None
        if not report.ok:
            self._failed(model, step.release.name, step.release_sha256, step.variant.name, "trial", report.reason, now)
        else:
            fact = TrialFact(
                slot=slot, begun=0, passed=True, measured=measured(step, report), limits_held=dict(report.limits_held)
            )
            told = self.journal.event(
                "tried", trial_words(step, report), model, release=step.release.name, variant=step.variant.name
            )
            self.journal.commit(model, self.facts(model).with_trial(fact), told)
        live.trial = None

    def _load(self, model: str, live: Live, step: steps.Load, now: Now) -> None:
        self._drop_candidate(live)
        live.candidate = self._start(model, step.release, step.release_sha256, step.variant)

    def _activate(self, model: str, live: Live, step: steps.Activate, now: Now) -> None:
        """The new one listens before the old one stops; only when it has answered is it a fact that it is active."""
        new, old = live.candidate, live.server
        assert new is not None
        new.worker.accept()
        if old is not None:
            old.worker.pause()
        why_not = self.launcher.ask_golden(new.spec, self.golden_deadline_s)
        try:
            if why_not is not None:
                self._failed(model, new.spec.release, new.spec.release_sha256, new.spec.variant, "switch", why_not, now)
            else:
                self._note_active(model, new, now)
        except OSError:
            why_not = "the disk"
            raise
        finally:
            live.candidate = None
            if why_not is None:
                live.serve_by(new)
                new.accepting_since = now.monotonic_s
                live.crashes_in_a_row = 0
            elif old is not None:
                old.worker.accept()
            leaving = new if why_not is not None else old
            if leaving is not None:
                leaving.worker.stop(self.drain_s)

    def _note_active(self, model: str, new: Process, now: Now) -> None:
        facts, spec = self.facts(model), new.spec
        active = Slot(
            slot=new.slot,
            release=spec.release,
            release_sha256=spec.release_sha256,
            variant=spec.variant,
            variant_sha256=spec.variant_sha256,
            since_s=now.wall_s,
        )
        was = facts.active
        previous = was if was is not None and was.proven else facts.previous
        text = f"{spec.release} ({spec.variant}) answered the golden inputs and serves" + (
            f" instead of {was.release}" if was else ""
        )
        told = self.journal.event("activated", text, model, release=spec.release, variant=spec.variant)
        self.journal.commit(model, replace(facts, active=active, previous=previous, crashes=0), told)

    def _prove(self, model: str, live: Live, step: steps.Prove, now: Now) -> None:
        facts = self.facts(model)
        assert facts.active is not None
        told = self.journal.event("proven", step.why, model, release=step.slot.release, variant=step.slot.variant)
        self.journal.commit(model, replace(facts, active=replace(facts.active, proven=True), crashes=0), told)
        live.crashes_in_a_row = 0

    # --- what fails

    def _fail(self, model: str, live: Live, step: steps.Fail, now: Now) -> None:
        failure = step.failure
        self._stop_trial(live)
        self._drop_candidate(live)
        self._failed(
            model, failure.release, failure.release_sha256, failure.variant, failure.stage, failure.reason, now
        )

    def _failed(self, model: str, release: str, sha256: str, variant: str, stage: Any, reason: str, now: Now) -> None:
        failure = Failure(
            release=release,
            release_sha256=sha256,
            variant=variant,
            stage=stage,
            reason=reason[:2000],
            at_s=now.wall_s,
        )
        told = self.journal.event(f"{stage}-failed", reason, model, release=release, variant=variant)
        self.journal.commit(model, self.facts(model).with_failure(failure), told)

    def _fall_back(self, model: str, live: Live, step: steps.FallBack, now: Now) -> None:
        """First the fact, then the processes: after a cut in between, the previous one is started at boot."""
        facts, failure = self.facts(model), step.failure
        known = facts.with_failure(failure)
        self._stop_trial(live)
        self._drop_candidate(live)
        if step.to is None:
            text = f"{failure.release} failed ({step.why}); there is nothing to go back to, so it keeps serving"
            told = self.journal.event("failed", text, model, release=failure.release, variant=failure.variant)
            self.journal.commit(model, replace(known, crashes=0), told)
            return
        text = f"{failure.release} failed ({step.why}); {step.to.release} serves again"
        told = self.journal.event("fell-back", text, model, release=failure.release, variant=failure.variant)
        self.journal.commit(model, replace(known, active=step.to, previous=None, crashes=0), told)
        leaving = live.server
        live.crashes_in_a_row, live.start_not_before = 0, 0.0
        release = self.documents.release(step.to.release_sha256)
        variant = release.variant(step.to.variant) if isinstance(release, Release) else None
        if isinstance(release, Release) and variant is not None:
            back = self._start(model, release, step.to.release_sha256, variant)
            live.serve_by(back)
            live.leaving = leaving
        elif leaving is not None:
            leaving.worker.stop(self.drain_s)
            live.serve_by(None)

    def _drop_candidate(self, live: Live) -> None:
        if live.candidate is not None:
            live.candidate.worker.stop(0.0)
            live.candidate = None

    def _stop_trial(self, live: Live) -> None:
        if live.trial is not None:
            live.trial[1].stop()
            live.trial = None


def measured(step: steps.NoteTrial, report: TrialReport) -> Measured | None:
    """Return what the trial measured, as the state tells it; None when it measured no time."""
    p50, p95 = report.latency_p50_s, report.latency_p95_s
    if p50 is None or p95 is None or not all(0 <= value <= MAX_SECONDS for value in (p50, p95)):
        return None  # a worker runs what others made: a number that no document can carry is no measurement
    return Measured(
        release=step.release.name,
        variant=step.variant.name,
        latency_p50_s=p50,
        latency_p95_s=p95,
        memory_bytes=_count(report.memory_bytes),
    )


def _count(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= 2**53 else None


def trial_words(step: steps.NoteTrial, report: TrialReport) -> str:
    """Return what a trial found, for people."""
    words = f"{step.release.name} ({step.variant.name}) answered its golden inputs"
    if report.latency_p50_s is not None:
        words += f", p50 {report.latency_p50_s * 1e3:.2f} ms"
    if report.memory_bytes is not None:
        words += f", {report.memory_bytes / 1e6:.0f} MB"
    return words


def measured_p50(facts: ModelFacts, release: str) -> dict[str, float]:
    """Return p50 in seconds by variant, from trials of this release on this very device."""
    rows = [fact.measured for fact in facts.trials if fact.measured is not None]
    return {row.variant: row.latency_p50_s for row in rows if row.release == release}
