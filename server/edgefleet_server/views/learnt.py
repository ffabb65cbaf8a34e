"""What classes measured, and what is wished for, as it is shown."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..rollouts.learning import Key, Learnt, Missing


def measured_view(
    learnt: Mapping[Key, Learnt], served: Mapping[Key, tuple[int, int, float | None, int | None]]
) -> list[dict[str, Any]]:
    """Return a row for each release, variant and class: `trial` as devices measured it, `served` as the last day went."""
    rows = []
    for key in sorted({*learnt, *served}):
        release, variant, hardware_class = key
        trial, load = learnt.get(key), served.get(key)
        rows.append(
            {
                "release": release,
                "variant": variant,
                "hardware_class": hardware_class,
                "trial": None if trial is None else msgspec.to_builtins(trial),
                "served": None
                if load is None
                else dict(zip(("requests", "errors", "p50_s", "memory_bytes"), load, strict=True)),
            }
        )
    return rows


def missing_view(row: Missing) -> dict[str, Any]:
    """Return a wish."""
    shown: dict[str, Any] = msgspec.to_builtins(row)
    return shown
