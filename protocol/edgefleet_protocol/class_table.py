"""A release with what classes of devices measured of it since it was signed. Pure."""

from collections.abc import Iterable

import msgspec

from .manifest import LatencyRow, Release
from .rollout import ClassRow


def with_class_table(release: Release, rows: Iterable[ClassRow]) -> Release:
    """Return `release` with the latencies of `rows` in place of those that its manifest has for the same class and variant.

    Nothing else may change by this: bounds that protect a device are signed offline.
    """
    by_variant: dict[str, list[ClassRow]] = {}
    for row in rows:
        by_variant.setdefault(row.variant, []).append(row)
    if not by_variant:
        return release
    variants = []
    for variant in release.variants:
        fresh = by_variant.get(variant.name, [])
        classes = {row.hardware_class for row in fresh}
        kept = tuple(row for row in variant.latency if row.hardware_class not in classes)
        measured = tuple(
            LatencyRow(
                hardware_class=row.hardware_class, p50_s=row.p50_s, how="measured", source=f"{row.devices} devices"
            )
            for row in fresh
        )
        variants.append(msgspec.structs.replace(variant, latency=(*kept, *measured)) if fresh else variant)
    return msgspec.structs.replace(release, variants=tuple(variants))
