"""What each role may do. The table in docs/reference/rights.md is made from this."""

from typing import Literal, get_args

Action = Literal[
    "health.read", "device.read", "event.read", "rollout.read", "release.read", "audit.read",
    "rollout.plan", "device.assign", "device.forget", "device.revoke", "device.command", "device.clear-alarm",
    "rollout.start", "rollout.pause", "rollout.resume", "rollout.go-back",
    "alert.read", "alert.hold", "rollout.approve", "rollout.next",
    "region.read", "region.apply", "region.freeze", "group.read", "group.write", "device.freeze", "device.decommission",
]  # fmt: skip
Role = Literal["viewer", "operator", "releaser", "admin"]

_LOOK = frozenset(
    {
        "health.read",
        "device.read",
        "event.read",
        "rollout.read",
        "release.read",
        "alert.read",
        "region.read",
        "group.read",
    }
)
_HOLD = frozenset({"rollout.pause", "rollout.resume", "rollout.go-back", "alert.hold", "region.freeze", "group.write"})

ROLES: dict[Role, frozenset[str]] = {
    "viewer": _LOOK,
    "operator": _LOOK
    | _HOLD
    | {"audit.read", "rollout.plan", "device.assign", "device.command", "device.clear-alarm", "device.freeze"},
    "releaser": _LOOK
    | _HOLD
    | {"audit.read", "rollout.plan", "rollout.start", "rollout.approve", "rollout.next", "region.apply"},
    "admin": frozenset(get_args(Action)),
}
"""An operator keeps devices alive and can stop a rollout, but begins none; a releaser begins them, and touches no device."""

WORDS: dict[str, str] = {
    "health.read": "see whether the server works (its counters: only with rights in every region)",
    "device.read": "see devices, their latency, and commands that were sent to them",
    "event.read": "see what happened on devices",
    "rollout.read": "see rollouts",
    "release.read": "see releases",
    "audit.read": "see who did what",
    "rollout.plan": "see what a rollout would do",
    "device.assign": "say where a device belongs; needs the right in the region it leaves and in the one it joins",
    "device.forget": "remove a device and all that it said",
    "device.revoke": "revoke a device's certificates and end its connection; needs the right in its region",
    "device.command": "send a device a command: look, measure, restart, retry, roll back, pin",
    "device.clear-alarm": "take a device out of quarantine",
    "rollout.start": "start a rollout",
    "rollout.pause": "pause a rollout",
    "rollout.resume": "let a rollout go on",
    "rollout.go-back": "take a release back",
    "alert.read": "see alerts; those of the whole fleet only with rights in every region",
    "alert.hold": "acknowledge or silence an alert",
    "rollout.approve": "say yes to a stage that waits for a person",
    "rollout.next": "open the next stage whatever its gate waits for",
    "region.read": "see how a region is set, every version of it, and what a new one would do",
    "region.apply": "set a region anew; needs the right in each region that the call names",
    "region.freeze": "let nothing new begin in a region, and end that",
    "group.read": "see groups, and their devices as far as one may see them",
    "group.write": "save or remove a group; needs the right in every region",
    "device.freeze": "let nothing new begin on a device, and end that",
    "device.decommission": "take a device out of the fleet for good, or let its name be used again",
}


def table() -> str:
    """Return roles and actions as a table in Markdown."""
    lines = [f"| action | | {' | '.join(ROLES)} |", f"|---|---|{'---|' * len(ROLES)}"]
    for action in get_args(Action):
        marks = " | ".join("yes" if action in actions else "" for actions in ROLES.values())
        lines.append(f"| `{action}` | {WORDS[action]} | {marks} |")
    return "\n".join(lines) + "\n"
