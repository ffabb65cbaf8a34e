"""What each role may do. The table in docs/reference/rights.md is made from this."""

from typing import Literal, get_args

Action = Literal[
    "health.read", "device.read", "event.read", "rollout.read", "release.read", "audit.read",
    "rollout.plan", "device.assign", "device.forget", "device.revoke", "device.command", "device.clear-alarm",
    "rollout.start", "rollout.pause", "rollout.resume", "rollout.go-back",
    "alert.read", "alert.hold", "rollout.approve", "rollout.next",
]  # fmt: skip
Role = Literal["viewer", "operator", "releaser", "admin"]

_LOOK = frozenset({"health.read", "device.read", "event.read", "rollout.read", "release.read", "alert.read"})
_HOLD = frozenset({"rollout.pause", "rollout.resume", "rollout.go-back", "alert.hold"})

ROLES: dict[Role, frozenset[str]] = {
    "viewer": _LOOK,
    "operator": _LOOK | _HOLD | {"audit.read", "rollout.plan", "device.assign", "device.command", "device.clear-alarm"},
    "releaser": _LOOK | _HOLD | {"audit.read", "rollout.plan", "rollout.start", "rollout.approve", "rollout.next"},
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
    "device.command": "send a device a command: diagnose, restart, retry, ping",
    "device.clear-alarm": "take a device out of quarantine",
    "rollout.start": "start a rollout",
    "rollout.pause": "pause a rollout",
    "rollout.resume": "let a rollout go on",
    "rollout.go-back": "take a release back",
    "alert.read": "see alerts; those of the whole fleet only with rights in every region",
    "alert.hold": "acknowledge or silence an alert",
    "rollout.approve": "say yes to a stage that waits for a person",
    "rollout.next": "open the next stage whatever its gate waits for",
}


def table() -> str:
    """Return roles and actions as a table in Markdown."""
    lines = [f"| action | | {' | '.join(ROLES)} |", f"|---|---|{'---|' * len(ROLES)}"]
    for action in get_args(Action):
        marks = " | ".join("yes" if action in actions else "" for actions in ROLES.values())
        lines.append(f"| `{action}` | {WORDS[action]} | {marks} |")
    return "\n".join(lines) + "\n"
