"""`status` and `explain`: read from the disk, so they work offline and while the agent is down."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_protocol.choose import Choice, choose
from edgefleet_protocol.explain import choice_to_dict, render
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState, ModelState
from edgefleet_protocol.rollout import Rollout

from .config import Config
from .hands.measured import measured_p50
from .link.standing import Standing
from .live import Live
from .observe import Documents, desired, models
from .report import Told
from .rules.frozen import frozen_words
from .rules.permits import quarantine
from .rules.seen import Desired, failed_variants
from .steps import Wait
from .store import Store
from .store.disk import Disk, Site
from .store.facts import ModelFacts
from .store.owner import Hands, read


class ReadOnlyDisk(Disk):
    """A disk that changes nothing: somebody only looks."""

    def write(self, path: Path, data: bytes, mode: int = 0o640) -> None:
        raise PermissionError(f"{path} is only looked at")

    def chmod(self, path: Path, mode: int) -> None:
        """What is there stays as it is."""

    def append(self, path: Path, data: bytes) -> None:
        raise PermissionError(f"{path} is only looked at")

    def fsync_folder(self, path: Path, site: Site) -> None:
        """Nothing was written."""

    def rename(self, old: Path, new: Path) -> None:
        """What is damaged stays where it is."""

    def unlink(self, path: Path) -> None:
        """What the agent has half done stays."""

    def remove_tree(self, path: Path) -> None:
        """What the agent has half done stays."""

    def mkdir(self, path: Path) -> bool:
        """Nothing is made."""
        return False


@dataclass(frozen=True)
class Explained:
    """One model's table: what each variant would be to this device."""

    model: str
    release: str
    choice: Choice | None
    why: str
    notes: tuple[tuple[str, str], ...] = ()
    """What is done or waited for now, and who or what holds it back: (name, words)."""


def stored_state(config: Config, hardware: Hardware, boot: str, at_s: float) -> DeviceState:
    """Return the state as far as the disk tells it."""
    from .report import device_state

    store = Store(ReadOnlyDisk(), config.state)
    documents = Documents(store)
    facts, hands = store.facts.facts, read(store.disk, config.state)
    told = {}
    for model in models(facts, documents.rollout()):
        want = desired(model, config.device, facts, hardware, store, documents, hands)
        wait = Wait(_while_down(want, facts.model(model)))
        # The clock is taken as it is: somebody looks who can see it.
        held = hands.hold_of(model, at_s, clock_trusted=True) or frozen_words(facts.frozen, _region_frozen(documents))
        struck = quarantine(facts.model(model), want.policy, at_s, hands.released.get(model, 0.0))[0]
        told[model] = Told(want, wait, Live(), held, struck)
    rollout = documents.rollout()
    return device_state(
        device=config.device,
        session=0,
        boot=boot,
        at_s=at_s,
        facts=facts,
        trust=store.facts.trust,
        trust_problem=None,
        rollout_serial=rollout.serial if rollout is not None and not isinstance(rollout, str) else 0,
        hardware=hardware,
        limits_held={},
        models=told,
    )


def _region_frozen(documents: Documents) -> str:
    rollout = documents.rollout()
    return rollout.frozen if isinstance(rollout, Rollout) else ""


def _while_down(want: Desired, facts: ModelFacts) -> str:
    """Return what can be said of a model without its processes."""
    active = facts.active
    serves = f"{active.release} ({active.variant}) serves as soon as the agent runs" if active else "nothing serves yet"
    return "; ".join(part for part in (want.problem or want.why, serves) if part)


def explain(config: Config, hardware: Hardware, state: DeviceState | None = None) -> list[Explained]:
    """Return, for each wished model, the whole table of the choice on this device, with each variant's reason.

    state: what the device last told, or what the disk tells: for what holds a model back now.
    """
    store = Store(ReadOnlyDisk(), config.state)
    documents = Documents(store)
    told = {row.model: row for row in state.models} if state is not None else {}
    return explained(config.device, store, documents, hardware, read(store.disk, config.state), told)


def explained(
    device: str,
    store: Store,
    documents: Documents,
    hardware: Hardware,
    hands: Hands,
    told: Mapping[str, ModelState],
) -> list[Explained]:
    """Return the same from a store that is open. told: what the device last told, by model."""
    facts = store.facts.facts
    rows = []
    for model in models(facts, documents.rollout()):
        want = desired(model, device, facts, hardware, store, documents, hands)
        notes = _notes(told[model]) if model in told else ()
        if want.release is None or want.sha256 is None:
            rows.append(Explained(model, "", None, want.problem or want.why, notes))
            continue
        mine = facts.model(model)
        choice = choose(
            want.release,
            hardware,
            want.policy,
            measured=measured_p50(mine, want.release.name),
            failed=failed_variants(mine, want.sha256),
        )
        rows.append(Explained(model, want.release.name, choice, choice.why, notes))
    return rows


def explain_words(rows: list[Explained], hardware: Hardware) -> str:
    """Return the tables for people."""
    if not rows:
        return "nothing is wished of this device yet\n"
    parts = []
    for row in rows:
        if row.choice is None:
            parts.append(f"{row.model}: {row.why}\n")
        else:
            parts.append(render(row.choice, row.release, hardware))
        parts[-1] += "".join(_line(name, words) + "\n" for name, words in row.notes)
    return "\n".join(parts)


def explain_dict(rows: list[Explained], hardware: Hardware) -> dict[str, Any]:
    """Return the tables for programs."""
    return {
        "hardware": msgspec.to_builtins(hardware),
        "models": [
            {
                "model": row.model,
                "release": row.release,
                "why": row.why,
                "choice": choice_to_dict(row.choice) if row.choice else None,
                "notes": dict(row.notes),
            }
            for row in rows
        ],
    }


def status_words(state: DeviceState, is_running: bool, broker: Standing | None = None, monotonic_s: float = 0.0) -> str:
    """Return the state for people: the device, then each model, one fact a line.

    broker: how a running agent stands with it. monotonic_s: now.
    """
    rollout = f"rollout {state.rollout_serial}" if state.rollout_serial else "no rollout yet"
    lines = [
        f"{state.device}: the agent {'runs' if is_running else 'does not run'}",
        _line("region", f"{state.region or 'not known yet'}, {rollout}"),
        _line("received", f"{state.bytes_received / 1e6:.2f} MB of chunks"),
    ]
    if broker is not None:
        lines.append(_line("broker", broker.words(monotonic_s)))
    if state.trust_problem:
        lines.append(_line("trouble", f"{state.trust_problem}; what runs keeps running"))
    if not state.models:
        lines.append(_line("wished", "nothing yet"))
    for model in state.models:
        lines += ["", *_model_words(model)]
    return "\n".join(lines) + "\n"


def status_dict(
    state: DeviceState, is_running: bool, broker: Standing | None = None, monotonic_s: float = 0.0
) -> dict[str, Any]:
    """Return the state for programs. `broker` is null while no agent runs."""
    row = None
    if broker is not None:
        row = {
            "address": broker.broker,
            "connected": broker.connected,
            "for_s": round(max(0.0, monotonic_s - broker.since), 1),
            "why": broker.why,
        }
    return {"running": is_running, "broker": row, "state": msgspec.to_builtins(state)}


def _model_words(model: ModelState) -> list[str]:
    lines = [f"{model.model}: {model.phase}", _line("now", model.why)]
    lines += [_line(name, words) for name, words in _notes(model)[1:]]
    if model.running is not None:
        on = f" on {model.running.provider}" if model.running.provider else ""
        lines.append(_line("serves", f"{model.running.release} ({model.running.variant}){on}"))
    if model.wanted is not None:
        chosen = f" ({model.chosen}), {model.chosen_why}" if model.chosen else ""
        lines.append(_line("wished", model.wanted + chosen))
    if model.previous is not None:
        lines.append(_line("before", f"{model.previous.release} ({model.previous.variant})"))
    for row in reversed(model.failures):
        lines.append(_line("failed", f"{row.release} ({row.variant}) {_WHERE[row.stage]}: {row.reason}"))
    return lines


def _notes(model: ModelState) -> tuple[tuple[str, str], ...]:
    """Return what is done or waited for, until when, and who or what holds it back."""
    until = ""
    if model.waits_until_s is not None:
        until = f"{datetime.fromtimestamp(model.waits_until_s, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    found = (
        ("now", model.why),
        ("until", until),
        ("pinned", model.pinned or ""),
        ("held", model.held or ""),
        ("leases", ", ".join(model.leases)),
        ("governor", model.governed or ""),
        ("quarantine", model.quarantined or ""),
    )
    return tuple(row for row in found if row[1] or row[0] == "now")


_WHERE = {
    "choose": "when a variant was chosen",
    "fetch": "while it was fetched",
    "verify": "when it was verified",
    "trial": "in its trial",
    "switch": "at the switch",
    "probation": "on probation",
    "deadline": "at its deadline",
}


def _line(name: str, text: str) -> str:
    """Nothing that a terminal would obey: a reason may quote what a worker printed."""
    return f"  {name:<9} " + "".join(letter if letter.isprintable() else " " for letter in text)


def live_state(run: Path) -> DeviceState | None:
    """Return what a running agent last told, or None."""
    from .loop import STATE_FILE

    try:
        return msgspec.json.decode((run / STATE_FILE).read_bytes(), type=DeviceState)
    except (OSError, msgspec.MsgspecError):
        return None


def live_standing(run: Path) -> Standing | None:
    """Return how a running agent last stood with its broker, or None."""
    from .loop import BROKER_FILE

    try:
        return msgspec.json.decode((run / BROKER_FILE).read_bytes(), type=Standing)
    except (OSError, msgspec.MsgspecError):
        return None
