"""What the doing of several steps has in common: starting a worker, noting a failure, clearing away."""

from typing import Any

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release, Variant
from edgefleet_protocol.messages import Failure
from edgefleet_protocol.rollout import Rollout

from ..journal import Journal
from ..live import Live, Process
from ..observe import Documents, Now
from ..placing import Place, Placing
from ..seams import Launcher, WorkerSpec
from ..serve import providers
from ..slots import slot_name
from ..store import Store
from ..store.facts import ModelFacts
from ..tuning import Tune

HOLD_AFTER_FULL_DISK_S = 60.0
RUNTIME_AGAIN_S = 60.0
"""How often a runtime that cannot be imported is tried again."""


class Tools:
    """Stores, launcher and documents of one device."""

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
        placing: Placing | None = None,
    ) -> None:
        self.placing = placing or Placing(store, hardware)
        self.journal, self.store, self.launcher, self.documents = journal, store, launcher, documents
        self.threads, self.drain_s, self.golden_deadline_s = threads, drain_s, golden_deadline_s

    @property
    def hardware(self) -> Hardware:
        """What the device is; read again when a runtime came."""
        return self.placing.hardware

    def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model."""
        return self.store.facts.facts.model(model)

    def start(self, model: str, release: Release, sha256: str, variant: Variant) -> Process:
        self.launcher.sockets(model)
        spec = self.spec(model, release, sha256, variant, serving=True)
        return Process(slot_name(sha256, variant.name), spec, self.launcher.start(spec))

    def spec(self, model: str, release: Release, sha256: str, variant: Variant, *, serving: bool) -> WorkerSpec:
        """Return everything that a worker of a slot is started with."""
        found = (self.placing.serving if serving else self.placing.trial)(self.facts(model), release, sha256, variant)
        # Nothing is left to run it on: it is started as signed, and its end says why.
        place = found or Place(variant.requires.provider, "")
        folder = self.store.releases.path(model, slot_name(sha256, variant.name))
        cpu_limit_s = None if serving else providers.cpu_limit_s(place.provider, variant.requires.load_s)
        # 0: whatever is best, of at most every core.
        most = self.threads or max(1, self.hardware.cores)
        return WorkerSpec(
            model=model,
            release=release.name,
            release_sha256=sha256,
            variant=variant.name,
            variant_sha256=release.file(variant.files[0]).sha256,
            runtime=variant.runtime,
            provider=place.provider,
            model_path=folder / variant.files[0],
            interface=release.interface,
            memory_limit_bytes=variant.requires.memory_bytes or None,
            cpu_limit_s=cpu_limit_s,
            golden_folder=folder,
            golden_inputs=release.golden_inputs,
            golden=variant.golden,
            threads=self.threads or 1,
            tuning=place.tuning,
            tune=None if serving else Tune(most, self.objective(release)),
            engines=self.placing.engine_folder(place),
            load_s=variant.requires.load_s,
        )

    def objective(self, release: Release) -> str:
        """Return what the region wants most of this device."""
        rollout = self.documents.rollout()
        return (
            rollout.policy.objective_for(self.hardware.hardware_class) if isinstance(rollout, Rollout) else "accuracy"
        )

    def failed(self, model: str, release: str, sha256: str, variant: str, stage: Any, reason: str, now: Now) -> None:
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

    def drop_candidate(self, live: Live) -> None:
        """End the candidate. In the middle of a switch, the worker that served takes connections again first."""
        drain_s = 0.0
        if live.asking is not None:
            live.asking.stop()
            live.asking, drain_s = None, self.drain_s
            if live.server is not None:
                live.server.worker.accept()
        if live.candidate is not None:
            live.candidate.worker.stop(drain_s)
            live.candidate = None

    def stop_trial(self, live: Live) -> None:
        if live.trial is not None:
            live.trial[1].stop()
            live.trial, live.trial_since, live.trial_on = None, None, ""
