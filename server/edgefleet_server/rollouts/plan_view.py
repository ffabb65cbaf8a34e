"""A plan as plain objects: what the API answers. The keys stay. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgefleet_protocol.explain import choice_to_dict, render

if TYPE_CHECKING:
    from .plan import Group, RegionPlan


def plan_view(plan: RegionPlan) -> dict[str, Any]:
    """Return a plan with the rendered text of each table, for each group of like devices and for each device that is named."""
    return {
        "region": plan.region,
        "release": plan.release,
        "stages": list(plan.stages),
        "matched": plan.matched,
        "devices": [
            {
                "device": row.device,
                "stage": row.stage,
                "hardware_class": row.hardware.hardware_class,
                "choice": choice_to_dict(row.choice),
                "text": render(row.choice, plan.release, row.hardware),
            }
            for row in plan.devices
        ],
        "left_out": [msgspec.to_builtins(row) for row in plan.left_out],
        "left_out_count": plan.left_out_count,
        "groups": [_group(plan, row) for row in plan.groups],
        "classes": {name: list(counts) for name, counts in plan.classes.items()},
        "unproven": list(plan.unproven),
        "no_fit": [{"hardware_class": name, "count": count, "why": why} for name, count, why in plan.no_fit],
        "wire_bytes": plan.wire_bytes,
        "move_bytes": plan.move_bytes,
        "verdicts": list(plan.verdicts),
        "notes": list(plan.notes),
        "refused": plan.refused,
        "interface_changes": list(plan.interface_changes),
        "breaks": plan.breaks,
        "digest": plan.digest,
    }


def _group(plan: RegionPlan, row: Group) -> dict[str, Any]:
    table = row.choice.table[0]
    return {
        "hardware_class": row.hardware.hardware_class,
        "count": row.count,
        "stages": list(row.stages),
        "examples": list(row.examples),
        "variant": table.variant,
        "latency_p50_s": table.latency.p50_s,
        "latency_source": table.latency.source,
        "memory_bytes": table.memory_bytes,
        "move_bytes": row.move_bytes,
        "choice": choice_to_dict(row.choice),
        "text": render(row.choice, plan.release, row.hardware),
    }
