"""Plans and stages as people read them."""

from typing import Any

from ..rollouts.words import devices_in_words, span
from .output import clean, megabytes, table

FEW = 20
"""Devices whose tables are printed one by one; of more, one table for all that are alike."""


def plan_text(region: dict[str, Any], *, devices: bool = False) -> str:
    """Return a region's plan: who takes what and why, who is left out, what moves, and when a verdict can be expected.

    devices: each device's own table, also where they are many.
    """
    stages = ", ".join(f"{percent:.4g} %" for percent in region["stages"])
    lines = [f"{region['region']}: {region['release']} in stages of {stages}", ""]
    if devices or region["matched"] <= FEW:
        for row in region["devices"]:
            lines += [f"{row['device']}, from stage {row['stage'] + 1}", row["text"]]
    else:
        for row in region["groups"]:
            many = f"{devices_in_words(row['count'])}, as {', '.join(row['examples'])}"
            lines += [f"{many}; each receives {megabytes(row['move_bytes'])}", row["text"]]
    if region["classes"]:
        headings = ("class", *(f"stage {place + 1}" for place in range(len(region["stages"]))))
        lines += [table(headings, [(name, *counts) for name, counts in region["classes"].items()]), ""]
    lines += [f"not proven: {clean(words)}" for words in region["unproven"]]
    for row in region["no_fit"]:
        many = devices_in_words(row["count"])
        lines.append(f"wished for: a variant that fits {many} of {clean(row['hardware_class'])}: {clean(row['why'])}")
    shown = region["left_out"] if devices else region["left_out"][:FEW]
    lines += [f"left out: {clean(row['device'])}: {clean(row['why'])}" for row in shown]
    if (more := region["left_out_count"] - len(shown)) > 0:
        lines.append(f"left out: {more} more")
    lines += [f"stage {place + 1}, {clean(words)}" for place, words in enumerate(region["verdicts"])]
    lines.append(
        f"{devices_in_words(region['matched'])} would run it; the broker would keep {megabytes(region['wire_bytes'])} of chunks, and "
        f"{megabytes(region['move_bytes'])} would go to devices"
    )
    if region["breaks"]:
        lines.append(f"It would be refused: {clean(region['breaks'])}. Accept it: --accept-interface-change")
    elif region["interface_changes"]:
        lines.append(f"It changes the interface, as accepted: {clean('; '.join(region['interface_changes']))}")
    lines += [clean(words) for words in region["notes"]]
    if region["refused"]:
        lines.append(f"It would be refused: {clean(region['refused'])}")
    return "\n".join(lines)


def stage_text(stage: dict[str, Any]) -> str:
    """Return a stage with its gate, on one line."""
    of = f" of {', '.join([*stage['hardware'], *stage['tags']])}" if stage["hardware"] or stage["tags"] else ""
    named = f" and {len(stage['devices'])} named" if stage["devices"] else ""
    gate = stage["gate"]
    said = f"at most {gate['max_failed_percent']:g} % failed, at least {gate['min_proven_percent']:g} % proven"
    if gate["max_failed"] is not None:
        said += f", at most {devices_in_words(gate['max_failed'])} failed"
    if gate["min_proven"]:
        said += f", at least {devices_in_words(gate['min_proven'])} proven"
    if gate["not_worse"] is not None:
        said += ", and not worse than the model before"
    if stage["soak_s"]:
        said += f", then judged on for {span(stage['soak_s'])}"
    yes = "" if not stage["approval"] else ", approved" if stage["approved"] else ", waits for a person's yes"
    return f"{stage['percent']:.4g} %{of}{named}, {stage['state']}{yes}; gate: {said}"
