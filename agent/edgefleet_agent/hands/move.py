"""Steps from a wish to a new active model: choose, put together, try, load, switch; and what fails on the way."""

import dataclasses

from msgspec.structs import replace

from edgefleet_protocol.choose import choose

from .. import steps
from ..errors import BadAssembly
from ..live import Live, Process
from ..observe import Now, missing_chunks
from ..rules.seen import failed_variants
from ..seams import Asked
from ..serve import providers
from ..slots import slot_name
from ..store.facts import ChoiceFact, Slot, TrialFact, Wish
from .measured import measured, measured_p50, trial_words
from .tools import Tools


class Moving(Tools):
    """The candidate."""

    def _note_wish(self, model: str, live: Live, step: steps.NoteWish, now: Now) -> None:
        wish = Wish(
            release_sha256=step.assignment.release.sha256, first_seen_s=now.wall_s, clock_trusted=now.clock_trusted
        )
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
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
        self.drop_candidate(live)
        told = self.journal.event("chosen", f"{taken or 'none'}: {choice.why}", model, release=step.release.name)
        self.journal.commit(model, replace(facts, choice=fact), told)

    def _assemble(self, model: str, live: Live, step: steps.Assemble, now: Now) -> None:
        try:
            self.store.releases.assemble(step.release, step.release_sha256, step.variant, self.store.chunks)
        except BadAssembly as error:
            if missing_chunks(step.release, step.variant.name, self.store):
                return  # damaged on this disk: it is fetched again
            self.failed(model, step.release.name, step.release_sha256, step.variant.name, "verify", str(error), now)

    def _try(self, model: str, live: Live, step: steps.Try, now: Now) -> None:
        """The count of trials begun is durable before the trial is: a candidate may take the device down."""
        slot = slot_name(step.release_sha256, step.variant.name)
        facts = self.facts(model)
        known = facts.trial(slot) or TrialFact(slot=slot)
        board = self.placing.board
        if known.board not in ("", board):  # what failed or passed under another system says nothing of this one
            known = replace(known, begun=0, passed=False, refused={})
        self.journal.commit(model, facts.with_trial(replace(known, begun=known.begun + 1, board=board)))
        spec = self.spec(model, step.release, step.release_sha256, step.variant, serving=False)
        if spec.engines is not None:
            spec = dataclasses.replace(spec, engines=self.store.engines.begin(spec.engines.name))
        self.stop_trial(live)
        live.trial = (slot, self.launcher.try_out(spec, providers.wall_limit_s(spec.provider, spec.load_s)))
        live.trial_since, live.trial_on = now.monotonic_s, spec.provider
        live.trial_bytes = step.variant.requires.memory_bytes

    def _note_trial(self, model: str, live: Live, step: steps.NoteTrial, now: Now) -> None:
        assert live.trial is not None
        slot, trial = live.trial
        report = trial.poll()
        assert report is not None
        place = self.placing.trial(self.facts(model), step.release, step.release_sha256, step.variant)
        if not report.ok and self._next_provider(model, live, step, report.reason):
            pass
        elif not report.ok:
            live.back_in_place()
            self.failed(model, step.release.name, step.release_sha256, step.variant.name, "trial", report.reason, now)
        else:
            fact = TrialFact(
                slot=slot,
                begun=0,
                passed=True,
                measured=measured(step, report),
                limits_held=dict(report.limits_held),
                board=self.placing.board,
                provider=live.trial_on,
                refused=known.refused if (known := self.facts(model).trial(slot)) is not None else {},
                tuning=report.tuning,
                tuning_why=report.tuning_why[:500],
                engine=place.engine if place is not None else "",
            )
            if fact.engine:
                self.store.engines.settle(fact.engine)
            told = self.journal.event(
                "tried", trial_words(step, report), model, release=step.release.name, variant=step.variant.name
            )
            self.journal.commit(model, self.facts(model).with_trial(fact), told)
        live.trial, live.trial_since, live.trial_on = None, None, ""

    def _next_provider(self, model: str, live: Live, step: steps.NoteTrial, reason: str) -> bool:
        """Note that a provider failed, when another is left to try the variant on; return whether that is so."""
        facts, slot = self.facts(model), slot_name(step.release_sha256, step.variant.name)
        known = facts.trial(slot) or TrialFact(slot=slot, board=self.placing.board)
        noted = facts.with_trial(replace(known, begun=0, refused={**known.refused, live.trial_on: reason[:500]}))
        after = self.placing.trial(noted, step.release, step.release_sha256, step.variant)
        if after is None:
            return False
        text = f"{step.release.name} ({step.variant.name}) failed its trial on {live.trial_on}: {reason}; {after.provider} is next"
        told = self.journal.event("provider-refused", text, model, release=step.release.name, variant=step.variant.name)
        self.journal.commit(model, noted, told)
        return True

    def _stand_aside(self, model: str, live: Live, step: steps.StandAside, now: Now) -> None:
        """The sockets stay bound: from now until the next worker accepts, requests wait in their queue."""
        old = live.server
        live.aside = slot_name(step.release_sha256, step.variant.name)
        live.aside_since = now.monotonic_s
        self.journal.tell("stood-aside", step.why, model)
        if old is not None:
            live.sample(now.monotonic_s)
            old.worker.pause()
            old.worker.stop(self.drain_s)
            live.ended = old
            live.serve_by(None)

    def _come_back(self, model: str, live: Live, step: steps.ComeBack, now: Now) -> None:
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        self.journal.tell("came-back", step.why, model)

    def _cancel(self, model: str, live: Live, step: steps.Cancel, now: Now) -> None:
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        self.journal.tell("cancelled", step.why, model)

    def _load(self, model: str, live: Live, step: steps.Load, now: Now) -> None:
        self.drop_candidate(live)
        live.candidate = self.start(model, step.release, step.release_sha256, step.variant)

    def _activate(self, model: str, live: Live, step: steps.Activate, now: Now) -> None:
        """The new one listens before the old one stops, and is asked; until it has answered, nothing is a fact."""
        new, old = live.candidate, live.server
        assert new is not None
        new.worker.accept()
        if old is not None:
            old.worker.pause()
        live.asking = self.launcher.begin_golden(new.spec, self.golden_deadline_s)

    def _settle(self, model: str, live: Live, step: steps.Settle, now: Now) -> None:
        """Only when the new one has answered is it a fact that it is active; else the old one accepts again."""
        new, old, asked = live.candidate, live.server, live.asked()
        assert new is not None and isinstance(asked, Asked)
        why_not = asked.why_not
        try:
            if why_not is not None:
                self.failed(model, new.spec.release, new.spec.release_sha256, new.spec.variant, "switch", why_not, now)
            else:
                self._note_active(model, live, new, now)
        except OSError:
            why_not = "the disk"
            raise
        finally:
            live.candidate, live.asking = None, None
            live.back_in_place()
            if why_not is None:
                live.serve_by(new)
                new.accepting_since = now.monotonic_s
                live.crashes_in_a_row = 0
            elif old is not None:
                old.worker.accept()
            leaving = new if why_not is not None else old
            if leaving is not None:
                leaving.worker.stop(self.drain_s)

    def _note_active(self, model: str, live: Live, new: Process, now: Now) -> None:
        facts, spec = self.facts(model), new.spec
        was = facts.active
        # Another variant of the release that runs may be proven already; another release is on probation, each time.
        within = was is not None and was.release_sha256 == spec.release_sha256
        others = tuple(name for name in facts.proven_slots if not name.startswith(slot_name(spec.release_sha256, "")))
        proven_slots = facts.proven_slots if within else others
        active = Slot(
            slot=new.slot,
            release=spec.release,
            release_sha256=spec.release_sha256,
            variant=spec.variant,
            variant_sha256=spec.variant_sha256,
            since_s=now.wall_s,
            proven=new.slot in proven_slots,
        )
        if was is not None and was.slot == active.slot:  # the same variant, on another provider
            active, previous = replace(active, proven=was.proven), facts.previous
        else:
            previous = was if was is not None and was.proven else facts.previous
        if facts.governed is not None and within:
            previous = facts.previous  # the governor moves within a release: the version before it is kept
        if previous is not None and previous.slot == active.slot:
            # The one before has come again, by the owner's pin and back: what it takes over from is kept.
            previous = was
        text = f"{spec.release} ({spec.variant}) answered the golden inputs and serves" + (
            f" instead of {was.release}" if was else ""
        )
        if live.aside is not None:
            text += f"; requests waited for {now.monotonic_s - live.aside_since:.1f} s, as there was no memory for both"

        told = self.journal.event("activated", text, model, release=spec.release, variant=spec.variant)
        facts = replace(facts, active=active, previous=previous, proven_slots=proven_slots, crashes=0, probation_s=0.0)
        self.journal.commit(model, facts, told)

    def _fail(self, model: str, live: Live, step: steps.Fail, now: Now) -> None:
        failure = step.failure
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        self.failed(model, failure.release, failure.release_sha256, failure.variant, failure.stage, failure.reason, now)
