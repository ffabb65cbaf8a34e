"""Steps about what is active: serve it, restore it, prove it, fall back from it."""

from msgspec.structs import replace

from edgefleet_protocol.manifest import Release

from .. import steps
from ..errors import BadAssembly
from ..live import Live, Tally
from ..log import LOG
from ..observe import Now
from ..store.facts import Governed
from .tools import HOLD_AFTER_FULL_DISK_S, Tools


class Keeping(Tools):
    """The worker of the active slot."""

    def _serve(self, model: str, live: Live, step: steps.Serve, now: Now) -> None:
        release = self.documents.release(step.slot.release_sha256)
        if not isinstance(release, Release) or (variant := release.variant(step.slot.variant)) is None:
            live.start_not_before = now.monotonic_s + HOLD_AFTER_FULL_DISK_S
            self.journal.tell("cannot-serve", f"the manifest of {step.slot.release} is not on the disk", model)
            return
        live.serve_by(self.start(model, release, step.slot.release_sha256, variant))

    def _accept(self, model: str, live: Live, step: steps.Accept, now: Now) -> None:
        assert live.server is not None
        live.server.worker.accept()
        live.server.accepting_since = now.monotonic_s
        live.probation, live.noted_s = Tally(), 0.0
        if live.leaving is not None:  # the one that failed served until now, so that no request was lost
            live.leaving.worker.pause()
            live.leaving.worker.stop(self.drain_s)
            live.leaving = None
        LOG.info("%s: serves %s (%s)", model, live.server.spec.release, live.server.spec.variant)

    def _count_crash(self, model: str, live: Live, step: steps.CountCrash, now: Now) -> None:
        live.serve_by(None)
        live.crashes_in_a_row += 1
        live.start_not_before = now.monotonic_s + step.again_in_s
        facts = self.facts(model)
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
            model,
            replace(facts, active=back, previous=None, probation_s=0.0),
            self.journal.event("damaged", text, model),
        )
        live.crashes_in_a_row = 0

    def _prove(self, model: str, live: Live, step: steps.Prove, now: Now) -> None:
        facts = self.facts(model)
        assert facts.active is not None
        told = self.journal.event("proven", step.why, model, release=step.slot.release, variant=step.slot.variant)
        known = facts.with_proven(facts.active.slot)
        active = replace(facts.active, proven=True)
        self.journal.commit(model, replace(known, active=active, crashes=0, probation_s=0.0), told)
        live.crashes_in_a_row = 0

    def _note_probation(self, model: str, live: Live, step: steps.NoteProbation, now: Now) -> None:
        facts = self.facts(model)
        self.journal.commit(model, replace(facts, probation_s=facts.probation_s + step.add_s))
        live.noted_s += step.add_s

    def _note_calm(self, model: str, live: Live, step: steps.NoteCalm, now: Now) -> None:
        self.journal.commit(model, replace(self.facts(model), crashes=0))

    def _forget_wish(self, model: str, live: Live, step: steps.ForgetWish, now: Now) -> None:
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        self.journal.commit(model, replace(self.facts(model), wish=None))

    def _govern(self, model: str, live: Live, step: steps.Govern, now: Now) -> None:
        """Only the fact: the next steps fetch, verify, try and switch as for any other variant."""
        facts = self.facts(model)
        before = facts.governed
        base = before.base if before is not None and before.release_sha256 == step.release_sha256 else None
        if facts.active is not None and facts.active.proven and facts.active.variant == step.chosen:
            base = facts.active
        fact = Governed(
            release_sha256=step.release_sha256,
            chosen=step.chosen,
            below=step.below,
            base=base,
            why=step.why,
            since_s=now.wall_s,
        )
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        live.governed_at = now.monotonic_s
        told = self.journal.event("governed", step.why, model, variant=step.below[-1] if step.below else step.chosen)
        self.journal.commit(model, replace(facts, governed=fact), told)

    def _fall_back(self, model: str, live: Live, step: steps.FallBack, now: Now) -> None:
        """First the fact, then the processes: after a cut in between, the previous one is started at boot."""
        facts, failure = self.facts(model), step.failure
        known = facts.with_failure(failure)
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        if step.to is None:
            text = f"{failure.release} failed ({step.why}); there is nothing to go back to, so it keeps serving"
            told = self.journal.event("failed", text, model, release=failure.release, variant=failure.variant)
            self.journal.commit(model, replace(known, crashes=0, probation_s=0.0), told)
            return
        text = f"{failure.release} failed ({step.why}); {step.to.release} serves again"
        told = self.journal.event("fell-back", text, model, release=failure.release, variant=failure.variant)
        is_before = facts.previous is not None and step.to.slot == facts.previous.slot
        previous = None if is_before else facts.previous
        self.journal.commit(model, replace(known, active=step.to, previous=previous, crashes=0, probation_s=0.0), told)
        leaving = live.server
        live.crashes_in_a_row, live.start_not_before = 0, 0.0
        release = self.documents.release(step.to.release_sha256)
        variant = release.variant(step.to.variant) if isinstance(release, Release) else None
        if isinstance(release, Release) and variant is not None:
            back = self.start(model, release, step.to.release_sha256, variant)
            live.serve_by(back)
            live.leaving = leaving
        elif leaving is not None:
            leaving.worker.stop(self.drain_s)
            live.serve_by(None)
