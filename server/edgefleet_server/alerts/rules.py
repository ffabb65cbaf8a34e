"""Rules as data: what is looked at, from which value on, for how long, and how long it must be gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from ..errors import BadConfig
from ..misfit import misfit

Kind = Literal[
    "silent", "latency", "battery", "heat", "drift", "storage", "wear", "rollout", "expiry", "cloned", "refused",
    "trust", "broker", "gone",
]  # fmt: skip
Severity = Literal["warning", "critical"]


@dataclass(frozen=True)
class Rule:
    """One rule. Two of a kind with different limits and names are well: a warning before something critical."""

    name: str
    kind: Kind
    limit: float = 0.0
    """silent: seconds; gone: seconds since it spoke last; latency: seconds of p95; battery: hours until it is empty; heat: °C; drift: PSI; storage: free bytes;
    wear: percent; expiry: days; refused: messages in ten minutes."""
    clear: float | None = None
    """An open alert stays until its value is past this one, on the good side of `limit`; none: `limit` itself."""
    for_s: float = 60.0
    """It must hold for so long before an alert opens."""
    clear_s: float = 600.0
    """It must be gone for so long before the alert is resolved."""
    severity: Severity = "warning"
    regions: tuple[str, ...] = ()
    """There only; none: everywhere."""
    at_least: int = 1
    """latency, drift: requests that must have been counted."""

    def bound(self, is_open: bool) -> float:
        """Return the value to compare with: an open alert is held to the one that is harder to pass."""
        return self.clear if is_open and self.clear is not None else self.limit


DEFAULTS: tuple[Rule, ...] = (
    Rule("device-silent", "silent", limit=900.0, for_s=0.0, clear_s=300.0),
    Rule("region-p95", "latency", limit=1.0, clear=0.9, for_s=300.0, at_least=100),
    Rule("battery-empties", "battery", limit=6.0, clear=9.0, for_s=300.0, clear_s=1800.0),
    Rule("device-hot", "heat", limit=80.0, clear=75.0, for_s=300.0),
    Rule("answers-drift", "drift", limit=0.1, clear=0.08, for_s=3600.0, clear_s=7200.0, at_least=1000),
    Rule("storage-full", "storage", limit=200e6, clear=300e6, for_s=300.0),
    Rule("storage-worn", "wear", limit=80.0, for_s=0.0),
    Rule("rollout-held", "rollout", for_s=0.0, clear_s=30.0),
    Rule("ends-soon", "expiry", limit=30.0, for_s=0.0, clear_s=60.0),
    Rule("ends-now", "expiry", limit=7.0, for_s=0.0, clear_s=60.0, severity="critical"),
    Rule("identity-cloned", "cloned", for_s=0.0, clear_s=60.0, severity="critical"),
    Rule("decommissioned-speaks", "gone", limit=3600.0, for_s=0.0, clear_s=60.0, severity="critical"),
    Rule("messages-refused", "refused", limit=10.0, clear=1.0, for_s=0.0, clear_s=1800.0),
    Rule("trust-refused", "trust", for_s=120.0, severity="critical"),
    Rule("broker-gone", "broker", for_s=60.0, clear_s=60.0, severity="critical"),
)
"""What a fleet is watched for when nobody says otherwise."""

HIGH_IS_BAD = {"silent", "latency", "heat", "drift", "wear", "refused"}
LOW_IS_BAD = {"battery", "storage", "expiry"}


def read_rules(rows: Sequence[Mapping[str, Any]], *, defaults: bool = True) -> tuple[Rule, ...]:
    """Return the rules that `rows` say, over the defaults of the same name; `enabled = false` leaves one out.

    Raises BadConfig for a key or a kind that is not known, and for numbers that would make an alert flap.
    """
    found = {rule.name: rule for rule in DEFAULTS} if defaults else {}
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(name := row.get("name"), str) or not name:
            raise BadConfig("alerts.rule: each has a name, as in name = 'device-silent'")
        values = dict(row)
        if values.pop("enabled", True) is False:
            found.pop(name, None)
            continue
        before = msgspec.to_builtins(found[name]) if name in found else {}
        if extra := sorted(set(values) - set(Rule.__dataclass_fields__)):
            raise BadConfig(
                f"alerts.rule {name}: {extra[0]} is not known. Known: {', '.join(Rule.__dataclass_fields__)}"
            )
        if not before and "kind" not in values:
            raise BadConfig(f"alerts.rule {name} is new and has no kind. There are: {', '.join(get_args(Kind))}")
        try:
            found[name] = check(msgspec.convert({**before, **values}, Rule))
        except msgspec.ValidationError as error:
            raise BadConfig(f"alerts.rule {name}: {misfit(error, values, Rule)}") from error
    return tuple(found.values())


def check(rule: Rule) -> Rule:
    """Return it; raise BadConfig for one that could never open, or never close."""
    if not (0 <= rule.for_s <= 7 * 86400 and 0 <= rule.clear_s <= 7 * 86400):
        raise BadConfig(f"alerts.rule {rule.name}: for_s and clear_s are seconds, from 0 to a week")
    if rule.clear is None:
        return rule
    wrong = rule.clear > rule.limit if rule.kind in HIGH_IS_BAD else rule.clear < rule.limit
    if wrong and rule.kind in HIGH_IS_BAD | LOW_IS_BAD:
        side = "at most" if rule.kind in HIGH_IS_BAD else "at least"
        raise BadConfig(
            f"alerts.rule {rule.name}: clear is {rule.clear:g}, and must be {side} its limit, {rule.limit:g}"
        )
    return rule
