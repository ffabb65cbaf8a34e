"""What a command can do here: answer, look, start a worker anew, try a release again. Nothing that a rollout decides."""

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState

from .commanding import Answer
from .journal import Journal
from .live import Live
from .observe import Documents
from .slots import slot_name
from .store import Store, owner

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "diagnose": (),
    "restart": ("model",),
    "retry": ("model", "release"),
}
"""Every action that this agent knows, and what it takes."""


class Actions:
    """Does them. `state` and `hardware` are asked when they are needed."""

    def __init__(
        self,
        device: str,
        *,
        store: Store,
        journal: Journal,
        documents: Documents,
        lives: Mapping[str, Live],
        drain_s: float,
        state: Callable[[], DeviceState | None],
        hardware: Callable[[], Hardware | None],
    ) -> None:
        self._device, self._store, self._journal, self._documents = device, store, journal, documents
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

    def _known(self) -> str:
        names = sorted(self._store.facts.facts.models)
        return f"models here: {', '.join(names) or 'none'}"
