"""Alerts as the API, a webhook and a mail say them. The keys are the API's and stay."""

from typing import Any

from .judge import Alert

EXAMPLES = 20


def alert_view(alert: Alert, now: float) -> dict[str, Any]:
    """Return one alert with examples of what it is about, and how it stands: open, acknowledged, silenced or resolved."""
    status: str = alert.status
    if alert.status == "open":
        status = "silenced" if alert.silenced(now) else "acknowledged" if alert.acknowledged_s is not None else "open"
    return {
        "id": alert.id,
        "status": status,
        "rule": alert.rule,
        "severity": alert.severity,
        "region": alert.region or None,
        "cause": alert.cause,
        "text": alert.text,
        "evidence": alert.evidence,
        "next": alert.next_step,
        "count": len(alert.subjects),
        "examples": list(alert.subjects[:EXAMPLES]),
        "since_s": alert.since_s,
        "opened_s": alert.opened_s,
        "resolved_s": alert.resolved_s,
        "acknowledged_s": alert.acknowledged_s,
        "acknowledged_by": alert.acknowledged_by,
        "silenced_until_s": alert.silenced_until_s if alert.silenced(now) else None,
        "silenced_by": alert.silenced_by if alert.silenced(now) else None,
    }


def subject(change: str, alert: Alert, fleet: str) -> str:
    """Return one line: what happened, where."""
    word = {"open": alert.severity, "grew": "growing", "resolve": "resolved"}[change]
    line = f"[{fleet}] {word}: {alert.rule}{f' in {alert.region}' if alert.region else ''}"
    return "".join(letter if letter.isprintable() else " " for letter in line)


def body(change: str, alert: Alert, fleet: str) -> str:
    """Return the mail's text."""
    lines = [subject(change, alert, fleet), "", alert.text, "", f"Evidence: GET {alert.evidence}"]
    if change != "resolve":
        lines += [f"Next: {alert.next_step}", f"To take it: edgefleet alert ack {alert.id}"]
    return "\n".join(lines) + "\n"
