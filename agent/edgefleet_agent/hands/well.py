"""Steps about the worker that serves and the runtime below it: end what hangs, replace what leaks, wait for a runtime."""

from msgspec.structs import replace

from edgefleet_protocol.manifest import Release

from .. import steps
from ..conditions import Hold
from ..live import Live
from ..observe import Now
from .tools import RUNTIME_AGAIN_S, Tools


class Mending(Tools):
    """The health of the worker that serves."""

    def _end_worker(self, model: str, live: Live, step: steps.EndWorker, now: Now) -> None:
        """Kill it; the next look finds it dead, counts that and starts it again, like any death."""
        assert live.server is not None
        live.server.worker.kill(step.why)

    def _replace(self, model: str, live: Live, step: steps.Replace, now: Now) -> None:
        """The swollen one serves until the fresh one has loaded; with no memory for both, requests wait meanwhile."""
        release = self.documents.release(step.slot.release_sha256)
        variant = release.variant(step.slot.variant) if isinstance(release, Release) else None
        old = live.server
        assert old is not None
        if not isinstance(release, Release) or variant is None:
            live.over_bound_reads = 0  # it cannot be started again without its manifest: it goes on
            return
        facts = self.facts(model)
        if not step.slot.proven:
            facts = replace(facts, crashes=facts.crashes + 1)
        told = self.journal.event(
            "worker-replaced", step.why, model, release=step.slot.release, variant=step.slot.variant
        )
        self.journal.commit(model, facts, told)
        live.sample(now.monotonic_s)
        if step.beside:
            fresh = self.start(model, release, step.slot.release_sha256, variant)
            live.serve_by(fresh)
            live.leaving = old
        else:
            old.worker.pause()
            old.worker.stop(self.drain_s)
            live.serve_by(None)
            live.ended = old

    def _note_runtime(self, model: str, live: Live, step: steps.NoteRuntime, now: Now) -> None:
        """No failure, no crash, no quarantine: the same things are tried again when the runtime may work again."""
        why = f"{step.why}. Nothing is wrong with the release: it is tried again every {RUNTIME_AGAIN_S:.0f} s"
        if live.trial is not None:
            facts, slot = self.facts(model), live.trial[0]
            if (known := facts.trial(slot)) is not None:
                self.journal.commit(model, facts.with_trial(replace(known, begun=0)))
        self.stop_trial(live)
        self.drop_candidate(live)
        live.back_in_place()
        live.start_not_before = now.monotonic_s + RUNTIME_AGAIN_S
        live.hold = Hold(why, now.monotonic_s + RUNTIME_AGAIN_S)
        if step.slot is not None:
            live.serve_by(None)
        if live.first_time("runtime-broken"):
            self.journal.tell("runtime-broken", why, model)
