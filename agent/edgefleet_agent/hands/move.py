"""Steps from a wish to a new active model: choose, put together, try, load, switch; and what fails on the way."""

from msgspec.structs import replace

from edgefleet_protocol.choose import choose

from .. import steps
from ..errors import BadAssembly
from ..live import Live, Process
from ..observe import Now, missing_chunks
from ..rules.seen import failed_variants
from ..slots import slot_name
from ..store.facts import ChoiceFact, Slot, TrialFact, Wish
from .measured import measured, measured_p50, trial_words
from .tools import TRIAL_EXTRA_S, Tools


class Moving(Tools):
    """The candidate."""

    def _note_wish(self, model: str, live: Live, step: steps.NoteWish, now: Now) -> None:
        wish = Wish(
            release_sha256=step.assignment.release.sha256, first_seen_s=now.wall_s, clock_trusted=now.clock_trusted
        )
        self.stop_trial(live)
        self.drop_candidate(live)
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
        self.journal.commit(model, facts.with_trial(replace(known, begun=known.begun + 1)))
        spec = self.spec(model, step.release, step.release_sha256, step.variant, serving=False)
        wall_limit_s = 2 * step.variant.requires.load_s + TRIAL_EXTRA_S
        self.stop_trial(live)
        live.trial = (slot, self.launcher.try_out(spec, wall_limit_s))
        live.trial_bytes = step.variant.requires.memory_bytes

    def _note_trial(self, model: str, live: Live, step: steps.NoteTrial, now: Now) -> None:
        assert live.trial is not None
        slot, trial = live.trial
        report = trial.poll()
        assert report is not None
        if not report.ok:
            self.failed(model, step.release.name, step.release_sha256, step.variant.name, "trial", report.reason, now)
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
        self.drop_candidate(live)
        live.candidate = self.start(model, step.release, step.release_sha256, step.variant)

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
                self.failed(model, new.spec.release, new.spec.release_sha256, new.spec.variant, "switch", why_not, now)
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
        previous = was if was is not None and was.proven else facts.previous
        if facts.governed is not None and within:
            previous = facts.previous  # the governor moves within a release: the version before it is kept
        text = f"{spec.release} ({spec.variant}) answered the golden inputs and serves" + (
            f" instead of {was.release}" if was else ""
        )
        told = self.journal.event("activated", text, model, release=spec.release, variant=spec.variant)
        facts = replace(facts, active=active, previous=previous, proven_slots=proven_slots, crashes=0, probation_s=0.0)
        self.journal.commit(model, facts, told)

    def _fail(self, model: str, live: Live, step: steps.Fail, now: Now) -> None:
        failure = step.failure
        self.stop_trial(live)
        self.drop_candidate(live)
        self.failed(model, failure.release, failure.release_sha256, failure.variant, failure.stage, failure.reason, now)
