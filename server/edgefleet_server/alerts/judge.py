"""Opens, keeps and resolves alerts. Pure: what was, what holds now, and what follows from both."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .facts import AlertFacts
from .findings import Finding, Key, find
from .rules import Rule

Status = Literal["pending", "open", "resolved"]
Kind = Literal["pending", "open", "grew", "keep", "resolve", "drop"]
GREW = 2.0
"""An open alert is told again when it holds so many times the subjects that were told last."""


@dataclass(frozen=True)
class Alert:
    """One alert. `pending`: it holds, and not yet for long enough."""

    rule: str
    region: str
    cause: str
    severity: str
    status: Status
    text: str
    evidence: str
    next_step: str
    subjects: tuple[str, ...]
    since_s: float
    """When it began to hold."""
    opened_s: float | None = None
    resolved_s: float | None = None
    gone_s: float | None = None
    """Since when it has not held any more, while it waits to be resolved."""
    told: int = 0
    """How many subjects it had when somebody was told last."""
    acknowledged_s: float | None = None
    acknowledged_by: str | None = None
    silenced_until_s: float | None = None
    silenced_by: str | None = None
    id: int = 0
    """0: not stored yet."""

    @property
    def key(self) -> Key:
        """What it is counted under: at most one that is not resolved has it."""
        return self.rule, self.region, self.cause

    def silenced(self, now: float) -> bool:
        """Whether nobody wants to be told of it now."""
        return self.silenced_until_s is not None and now < self.silenced_until_s


@dataclass(frozen=True)
class Change:
    """What becomes of one alert. Of `open`, `grew` and `resolve` somebody is told, unless it is silenced."""

    kind: Kind
    alert: Alert


def judge(facts: AlertFacts, rules: Iterable[Rule], before: Mapping[Key, Alert], now: float) -> tuple[Change, ...]:
    """Return what becomes of `before`, the alerts that are not resolved, by what holds at `now`.

    Between two openings of one key lie at least its rule's for_s and clear_s, whatever its values do.
    """
    by_name = {rule.name: rule for rule in rules}
    opened = {key: frozenset(row.subjects) for key, row in before.items() if row.status == "open"}
    found = {row.key: row for row in find(facts, by_name.values(), opened, now)}
    changes: list[Change] = []
    for key, finding in found.items():
        changes += _holds(before.get(key), finding, now)
    for key, alert in before.items():
        if key not in found:
            changes += _gone(alert, by_name.get(alert.rule), facts, now)
    return tuple(changes)


def _holds(alert: Alert | None, finding: Finding, now: float) -> list[Change]:
    if alert is None:
        alert = Alert(
            rule=finding.rule.name,
            region=finding.region,
            cause=finding.cause,
            severity=finding.rule.severity,
            status="pending",
            text=finding.text,
            evidence=finding.evidence,
            next_step=finding.next_step,
            subjects=finding.subjects,
            since_s=now,
        )
        if finding.rule.for_s > 0:
            return [Change("pending", alert)]
    said = replace(alert, text=finding.text, evidence=finding.evidence, subjects=finding.subjects, gone_s=None)
    if alert.status == "pending":
        if now - alert.since_s < finding.rule.for_s:
            return [Change("keep", said)] if said != alert else []
        return [Change("open", replace(said, status="open", opened_s=now, told=len(said.subjects)))]
    if len(said.subjects) >= GREW * max(alert.told, 1):
        return [Change("grew", replace(said, told=len(said.subjects)))]
    return [Change("keep", said)] if said != alert else []


def _gone(alert: Alert, rule: Rule | None, facts: AlertFacts, now: float) -> list[Change]:
    if alert.status == "pending":
        return [Change("drop", alert)]
    if rule is None:  # somebody took the rule out of the configuration
        return [Change("resolve", replace(alert, status="resolved", resolved_s=now))]
    if rule.kind == "silent" and not facts.broker_connected:
        return []  # nobody knows
    if alert.gone_s is None:
        alert = replace(alert, gone_s=now)
        if rule.clear_s > 0:
            return [Change("keep", alert)]
    if now - (alert.gone_s or now) >= rule.clear_s:
        return [Change("resolve", replace(alert, status="resolved", resolved_s=now))]
    return []
