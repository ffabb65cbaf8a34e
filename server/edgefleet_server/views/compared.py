"""The two models of a rollout on the same devices, as it is shown."""

from collections.abc import Sequence
from typing import Any

import msgspec

from edgefleet_protocol.rollout import NotWorse

from ..rollouts.compare import Comparison
from ..rollouts.pairs import Pair
from ..store.rollouts import Record
from .rollout import rules_view

LISTED = 200


def compared_view(
    record: Record, pairs: Sequence[Pair], found: Comparison, later: Comparison | None = None
) -> dict[str, Any]:
    """Return what is found on the devices that were compared, and each of them."""
    rules = record.assignment.stages[record.stage].gate.not_worse
    return {
        "region": record.region,
        "model": record.model,
        "release": record.release,
        "asked": rules is not None,
        "rules": rules_view(rules or NotWorse()),
        "result": found.result,
        "why": found.why,
        "devices": found.devices,
        "needed": found.needed,
        "findings": [msgspec.to_builtins(row) for row in found.findings],
        "later": None
        if later is None
        else {
            "result": later.result,
            "why": later.why,
            "devices": later.devices,
            "findings": [msgspec.to_builtins(row) for row in later.findings],
        },
        "pairs": [msgspec.to_builtins(row) for row in pairs[:LISTED]],
    }
