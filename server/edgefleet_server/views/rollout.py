"""A rollout as it is shown."""

from typing import Any

import msgspec

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.rollout import Gate, NotWorse
from edgefleet_protocol.trust import release_of_path
from edgefleet_trust.errors import TrustError

from ..rollouts.controller import Controller
from ..rollouts.evidence import Evidence
from ..rollouts.gates import Tally
from ..store.rollouts import MoveRow, Record


def _evidence(controller: Controller, record: Record) -> tuple[tuple[Evidence, ...], Tally]:
    """Return none for a release that cannot be read: the record's reason says so, and the others are shown."""
    try:
        return controller.evidence(record)
    except (TrustError, ProtocolError):
        return (), Tally()


def gate_view(gate: Gate) -> dict[str, Any]:
    """Return a gate with all its values, also those that are as usual."""
    shown = {name: getattr(gate, name) for name in gate.__struct_fields__}
    return shown | {"not_worse": rules_view(gate.not_worse)}


def rules_view(rules: NotWorse | None) -> dict[str, Any] | None:
    """Return how much worse a model may be, with all values."""
    return None if rules is None else {name: getattr(rules, name) for name in rules.__struct_fields__}


def rollout_view(controller: Controller, record: Record, history: tuple[MoveRow, ...]) -> dict[str, Any]:
    """Return a rollout with its stages, counts and moves; of one whose place another took, without counts."""
    past = record.status == "superseded"
    evidence, counts = ((), Tally()) if past else _evidence(controller, record)
    ended = record.status in ("complete", "gone-back", "superseded")
    return {
        "id": record.id,
        "region": record.region,
        "model": record.model,
        "release": record.release,
        "previous": release_of_path(record.previous.release.path) if record.previous else None,
        "status": record.status,
        "why": record.why,
        "stage": record.stage,
        "stages": [
            {
                "percent": stage.percent,
                "max_failed_percent": stage.gate.max_failed_percent,
                "min_proven_percent": stage.gate.min_proven_percent,
                "state": _stage_state(record, place, ended),
                "gate": gate_view(stage.gate),
                "tags": list(stage.tags),
                "hardware": list(stage.hardware),
                "devices": list(stage.devices),
                "soak_s": stage.soak_s,
                "approval": stage.approval,
                "approved": not stage.approval or place <= max(record.approved, record.stage),
            }
            for place, stage in enumerate(record.assignment.stages)
        ],
        # Of a rollout whose place another took nothing can be weighed now: its devices went on.
        "counts": dict.fromkeys(("proven", "failed", "under_way", "apart", "outside"))
        if past
        else {
            "proven": len(counts.proven),
            "failed": len(counts.failed),
            "under_way": len(counts.under_way),
            "apart": len(counts.apart),
            "outside": sum(row.standing == "outside" for row in evidence),
        },
        "evidence": [msgspec.to_builtins(row) for row in evidence],
        "policy": msgspec.to_builtins(record.policy),
        "started_s": record.started_s,
        "stage_opened_s": record.stage_opened_s,
        "soaking_s": record.soaking_s,
        "opened_percent": record.assignment.opened_percent,
        "updated_s": record.updated_s,
        "moves": [msgspec.to_builtins(row) for row in history],
    }


def _stage_state(record: Record, place: int, ended: bool) -> str:
    if record.status == "complete" or place < record.stage:
        return "passed"
    if place > record.stage:
        return "to come"
    if record.status == "gone-back":
        return "failed"
    return "ended" if ended else "open"
