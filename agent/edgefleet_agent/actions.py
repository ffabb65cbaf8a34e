"""What a command can do here: answer, look, measure, start a worker anew, try a release again, keep one for a while.

Nothing that a rollout decides for others, and nothing that was not verified here before.
"""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState

from . import logbook
from .benching import Benching
from .commanding import Answer
from .config import Config
from .journal import Journal
from .live import Live
from .observe import Documents, Now
from .pinning import DEFAULT_S, CannotPin, pin, previous, utc
from .seams import Clock, Probe
from .slots import slot_name
from .store import Store, owner

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "diagnose": (),
    "diag": (),
    "logs": ("lines",),
    "benchmark": ("model",),
    "restart": ("model",),
    "retry": ("model", "release"),
    "rollback": ("model", "for_s", "by"),
    "pin": ("model", "release", "for_s", "by"),
    "unpin": ("model",),
}
"""Every action that this agent knows, and what it takes."""


class Actions:
    """Does them. `state` and `hardware` are asked when they are needed."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        probe: Probe,
        benching: Benching,
        moment: Callable[[], Now],
        store: Store,
        journal: Journal,
        documents: Documents,
        lives: Mapping[str, Live],
        drain_s: float,
        state: Callable[[], DeviceState | None],
        hardware: Callable[[], Hardware | None],
    ) -> None:
        self._config, self._device = config, config.device
        self._store, self._journal, self._documents = store, journal, documents
        self._clock, self._probe, self._benching, self._moment = clock, probe, benching, moment
        self._lives, self._drain_s, self._state, self._hardware = lives, drain_s, state, hardware

    def act(self, action: str, arguments: Mapping[str, str]) -> Answer:
        """Do `action`; say what came of it."""
        if action not in ARGUMENTS:
            return Answer(False, f"unknown action {action!r}; this agent knows {', '.join(sorted(ARGUMENTS))}")
        if extra := sorted(set(arguments) - set(ARGUMENTS[action])):
            return Answer(
                False, f"{action} takes {' and '.join(ARGUMENTS[action]) or 'no arguments'}, and not {extra[0]}"
            )
        try:
            answer: Answer = getattr(self, f"_{action}")(arguments)
        except OSError as error:
            return Answer(False, f"{action} found the disk in trouble: {error.strerror}")
        return answer

    def _ping(self, arguments: Mapping[str, str]) -> Answer:
        return Answer(True, "pong")

    def _diagnose(self, arguments: Mapping[str, str]) -> Answer:
        from .status import explain_words, explained, status_words

        state, hardware = self._state(), self._hardware()
        if state is None or hardware is None:
            return Answer(False, "the agent has only just started, and knows nothing yet")
        hands, told = owner.read(self._store.disk, self._store.state), {row.model: row for row in state.models}
        rows = explained(self._device, self._store, self._documents, hardware, hands, told)
        return Answer(True, status_words(state, True), {"explain": explain_words(rows, hardware)})

    def _diag(self, arguments: Mapping[str, str]) -> Answer:
        from .diagnosis import diagnosis

        state, hardware = self._state(), self._hardware()
        if state is None or hardware is None:
            return Answer(False, "the agent has only just started, and knows nothing yet")
        free = {
            "storage free in bytes": self._probe.storage_free_bytes(),
            "memory available in bytes": self._probe.memory_available_bytes(),
            "memory pressure in percent": self._probe.memory_pressure_percent(),
            "way out": self._probe.interface(),
        }
        text = diagnosis(self._config, self._store, self._documents, hardware, state, logbook.recent(), free)
        return Answer(True, f"a diagnosis of {len(text.splitlines())} lines", data=text)

    def _logs(self, arguments: Mapping[str, str]) -> Answer:
        from .rules.redact import redacted

        count = _number(arguments.get("lines", ""), logbook.KEPT_LINES)
        if count is None or not 1 <= count <= logbook.KEPT_LINES:
            return Answer(False, f"lines is {arguments['lines']!r}: write a number from 1 to {logbook.KEPT_LINES}")
        lines = logbook.recent()[-int(count) :]
        if not lines:
            return Answer(True, "no lines are kept: the agent has said nothing since it started")
        return Answer(True, f"the last {len(lines)} lines", data=redacted("\n".join(lines) + "\n"))

    def _benchmark(self, arguments: Mapping[str, str]) -> Answer:
        """Measure what serves once more, beside it. It never takes a place that a trial needs."""
        model = self._only(arguments)
        live = self._lives.get(model)
        if live is None or live.server is None or live.server.accepting_since is None:
            return Answer(False, f"nothing serves {model or 'a model without a name'} here; {self._known()}")
        if trying := next((name for name, row in self._lives.items() if row.trial is not None), None):
            return Answer(False, f"a release of {trying} is on trial now: ask again when that is over")
        why = self._benching.begin(live.server.spec, self._clock.monotonic())
        if why is not None:
            return Answer(False, why)
        spec = live.server.spec
        return Answer(
            True,
            f"{spec.release} ({spec.variant}) is being measured; what serves goes on",
            later=lambda: self._benching.poll(self._clock.monotonic()),
        )

    def _rollback(self, arguments: Mapping[str, str]) -> Answer:
        model = self._only(arguments)
        facts = self._store.facts.facts.models.get(model)
        if facts is None:
            return Answer(False, f"{model or 'a model without a name'} is not known here; {self._known()}")
        try:
            return self._keep(model, previous(facts, model)[0], arguments)
        except CannotPin as error:
            return Answer(False, str(error))

    def _pin(self, arguments: Mapping[str, str]) -> Answer:
        model = self._only(arguments)
        facts = self._store.facts.facts.models.get(model)
        if facts is None:
            return Answer(False, f"{model or 'a model without a name'} is not known here; {self._known()}")
        release = arguments.get("release") or (facts.active.release if facts.active else "")
        try:
            return self._keep(model, release, arguments)
        except CannotPin as error:
            return Answer(False, str(error))

    def _keep(self, model: str, release: str, arguments: Mapping[str, str]) -> Answer:
        """Pin a release. The reply says what will happen, never that it has: the device's state says that."""
        if owned := owner.read(self._store.disk, self._store.state).pins.get(model):
            raise CannotPin(f"{owned.release} is pinned by {owned.by}, who owns this device; only they can end that")
        seconds = _number(arguments.get("for_s", ""), DEFAULT_S)
        if seconds is None:
            raise CannotPin(f"for_s is {arguments['for_s']!r}: write seconds, as in 86400")
        by = arguments.get("by") or "the fleet"
        fact = pin(self._store, self._documents, model, release, by=by, seconds=seconds, moment=self._moment())
        facts = self._store.facts.facts.model(model)
        text = f"{release} is pinned by {fact.by}, by command, until {utc(fact.until_s)}"
        self._journal.commit(
            model, replace(facts, pin=fact), self._journal.event("pinned", text, model, release=release)
        )
        active = facts.active
        if active is not None and active.release_sha256 == fact.release_sha256:
            return Answer(True, f"{text}; it serves now and stays")
        runs = f"{active.release} serves until then" if active is not None else "nothing serves until then"
        return Answer(True, f"{text}; it takes over once it has answered its golden inputs, and {runs}")

    def _unpin(self, arguments: Mapping[str, str]) -> Answer:
        model = self._only(arguments)
        facts = self._store.facts.facts.models.get(model)
        if facts is None or facts.pin is None:
            owned = owner.read(self._store.disk, self._store.state).pins.get(model)
            if owned is not None:
                return Answer(
                    False, f"{owned.release} is pinned by {owned.by}, who owns this device; only they can end that"
                )
            return Answer(False, f"nothing of {model or 'a model without a name'} is pinned by command here")
        text = f"{facts.pin.release} is pinned no longer, by command: rollouts decide again"
        told = self._journal.event("unpinned", text, model, release=facts.pin.release)
        self._journal.commit(model, replace(facts, pin=None), told)
        return Answer(True, text)

    def _restart(self, arguments: Mapping[str, str]) -> Answer:
        model = arguments.get("model", "")
        live = self._lives.get(model)
        if live is None or live.server is None:
            return Answer(False, f"nothing serves {model or 'a model without a name'} here; {self._known()}")
        before = live.server
        live.serve_by(None)
        live.crashes_in_a_row, live.start_not_before = 0, 0.0
        before.worker.stop(self._drain_s)
        self._journal.tell("restarted", f"the worker of {before.spec.release}, by command", model, before.spec.release)
        return Answer(True, f"the worker of {before.spec.release} ({before.spec.variant}) is started anew")

    def _retry(self, arguments: Mapping[str, str]) -> Answer:
        """Forget failures, so that the wish is tried as if it were new. What runs goes on running."""
        model = arguments.get("model", "")
        facts = self._store.facts.facts.models.get(model)
        if facts is None:
            return Answer(False, f"{model or 'a model without a name'} is not known here; {self._known()}")
        release = arguments.get("release")
        live = self._lives.get(model)
        gone = [
            row
            for row in facts.failures
            if (row.release == release if release else live is not None and row.release_sha256 == live.wished)
        ]
        what = release or "what is wished"
        if not gone:
            return Answer(False, f"nothing of {what} failed here, so there is nothing to try again")
        digests = {row.release_sha256 for row in gone}
        slots = {slot_name(row.release_sha256, row.variant) for row in gone}
        choice, wish = facts.choice, facts.wish
        fresh = replace(
            facts,
            failures=tuple(row for row in facts.failures if row not in gone),
            trials=tuple(row for row in facts.trials if row.slot not in slots),
            choice=None if choice is not None and choice.release_sha256 in digests else choice,
            wish=None if wish is not None and wish.release_sha256 in digests else wish,
            crashes=0,
        )
        text = f"{len(gone)} {'failure' if len(gone) == 1 else 'failures'} of {gone[-1].release} forgotten, by command"
        self._journal.commit(model, fresh, self._journal.event("retried", text, model, release=gone[-1].release))
        return Answer(True, text)

    def _only(self, arguments: Mapping[str, str]) -> str:
        """Return the model that is named; where none is and there is but one, that one."""
        names = tuple(self._store.facts.facts.models)
        return arguments.get("model") or (names[0] if len(names) == 1 else "")

    def _known(self) -> str:
        names = sorted(self._store.facts.facts.models)
        return f"models here: {', '.join(names) or 'none'}"


def _number(text: str, default: float) -> float | None:
    """Return the number that `text` is, `default` for none, None for what is no number."""
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        return None
    return value if -1e12 < value < 1e12 else None
