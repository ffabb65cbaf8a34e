"""What each rule finds in one moment: by region and cause, so that a carrier's outage is one finding."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from .facts import AlertFacts, DeviceFacts, RolloutFacts
from .rules import Rule

TOGETHER_S = 300.0
"""Devices whose silence began within so long of the next one's fell silent together."""
OUTAGE_DEVICES = 3
DAY_S = 86400.0
Key = tuple[str, str, str]
"""Rule, region ("" is the whole fleet), cause."""


@dataclass(frozen=True)
class Finding:
    """Something that holds now."""

    rule: Rule
    region: str
    cause: str
    subjects: tuple[str, ...]
    """Devices or documents, sorted."""
    text: str
    evidence: str
    """A path of the API that shows it."""
    next_step: str

    @property
    def key(self) -> Key:
        """What it is counted under."""
        return self.rule.name, self.region, self.cause


Open = Mapping[Key, Collection[str]]
"""By key, the subjects of what is open: they are held to the harder bound, and stay where they were put."""


def find(facts: AlertFacts, rules: Iterable[Rule], opened: Open, now: float) -> tuple[Finding, ...]:
    """Return everything that holds at `now`."""
    found: list[Finding] = []
    for rule in rules:
        if rule.kind == "silent" and not facts.broker_connected:
            continue  # nobody can be heard: that is the broker's alert, and no device's
        found += FINDERS[rule.kind](facts, rule, opened, now)
    return tuple(row for row in found if not row.rule.regions or row.region in row.rule.regions)


def _silent(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    # Who was called silent is so until it speaks: that the server listens anew is no word of the device's.
    held = {name for key, names in opened.items() if key[0] == rule.name for name in names}
    silent = {}
    for row in facts.devices:
        if row.last_heard_s is None:
            continue
        since_s = row.last_heard_s if row.id in held else max(row.last_heard_s, facts.listening_since_s)
        if now - since_s > rule.limit:
            # Together is who was heard last at the same time: since the server listens they are all silent alike.
            silent[row.id] = row.last_heard_s, row.region or ""
    found = []
    for region in sorted({region for _, region in silent.values()}):
        here = sorted((began, name) for name, (began, where) in silent.items() if where == region)
        outage, alone = _clusters(here, opened.get((rule.name, region, "outage"), ()))
        evidence = f"/v1/devices?region={quote(region)}" if region else "/v1/devices"
        if outage:
            found.append(
                Finding(
                    rule, region, "outage", tuple(sorted(outage)),
                    f"{len(outage)} devices in {region or 'no region'} fell silent together: {_some(outage)}",
                    evidence,
                    "Ask the carrier or whoever keeps the network there; devices go on serving, and come back by themselves.",
                )
            )  # fmt: skip
        if alone:
            found.append(
                Finding(
                    rule, region, "silent", tuple(sorted(alone)),
                    f"{_many(alone, 'device')} in {region or 'no region'} said nothing for {_long(rule.limit)}: {_some(alone)}",
                    f"/v1/devices/{quote(min(alone))}" if len(alone) == 1 else evidence,
                    "See when it was last heard of and on what power; then look at the place. If it is gone: edgefleet device forget.",
                )
            )  # fmt: skip
    return found


def _clusters(here: list[tuple[float, str]], kept: Collection[str]) -> tuple[list[str], list[str]]:
    """Split what is silent into what fell silent together and what did so alone. `kept`: what is in an outage already."""
    groups: list[list[tuple[float, str]]] = []
    for row in here:
        if groups and row[0] - groups[-1][-1][0] <= TOGETHER_S:
            groups[-1].append(row)
        else:
            groups.append([row])
    outage: list[str] = []
    alone: list[str] = []
    for group in groups:
        for _, name in group:
            (outage if len(group) >= OUTAGE_DEVICES or name in kept else alone).append(name)
    return outage, alone


def _latency(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    found = []
    for row in facts.groups:
        cause = f"{row.model} {row.release} {row.variant}"
        bound = rule.bound((rule.name, row.region, cause) in opened)
        if row.p95_s is not None and row.p95_s > bound and row.requests >= rule.at_least:
            found.append(
                Finding(
                    rule, row.region, cause, (cause,),
                    f"95 of 100 answers of {row.release} ({row.variant}) in {row.region} take up to {row.p95_s * 1e3:.0f} ms; "
                    f"the limit is {rule.limit * 1e3:.0f} ms ({row.requests} requests)",
                    f"/v1/telemetry/regions/{quote(row.region)}",
                    "Compare the variants there; heat and low power slow a device too. To take a release back: edgefleet rollout go-back.",
                )
            )  # fmt: skip
    return found


def _drift(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    found = []
    for row in facts.groups:
        cause = f"{row.model} {row.release} {row.variant}"
        bound = max(rule.bound((rule.name, row.region, cause) in opened), row.psi_limit)
        if row.psi is not None and row.psi > bound and row.requests >= rule.at_least:
            found.append(
                Finding(
                    rule, row.region, cause, (cause,),
                    f"what {row.release} ({row.variant}) answers in {row.region} differs from its own first day: PSI "
                    f"{row.psi:.2f}, and {bound:.2f} may be chance",
                    f"/v1/telemetry/regions/{quote(row.region)}",
                    "Look at what the cameras see: a season, a lens, a new scene. Then collect samples and train anew.",
                )
            )  # fmt: skip
    return found


def _devices(
    is_bad: Callable[[DeviceFacts, float], bool], cause: str, words: str, next_step: str
) -> "Callable[[AlertFacts, Rule, Open, float], list[Finding]]":
    """Return a finder of devices of which something is so: one finding a region."""

    def finder(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
        bad: dict[str, list[str]] = {}
        for row in facts.devices:
            region = row.region or ""
            if is_bad(row, rule.bound(row.id in opened.get((rule.name, region, cause), ()))):
                bad.setdefault(region, []).append(row.id)
        return [
            Finding(
                rule, region, cause, tuple(sorted(names)),
                f"{_many(names, 'device')} in {region or 'no region'} {words.format(limit=rule.limit)}: {_some(names)}",
                f"/v1/devices/{quote(names[0])}" if len(names) == 1 else f"/v1/devices?region={quote(region)}" if region
                else "/v1/devices",
                next_step,
            )
            for region, names in sorted(bad.items())
        ]  # fmt: skip

    return finder


def _empties(row: DeviceFacts, hours: float) -> bool:
    if row.battery_percent is None or row.battery_charging:
        return False
    return (
        row.battery_per_hour is not None
        and row.battery_per_hour < 0
        and (row.battery_percent < -row.battery_per_hour * hours)
    )


def _hot(row: DeviceFacts, limit: float) -> bool:
    return (row.temperature_c is not None and row.temperature_c >= limit) or "soft-limit" in row.throttled


def _free(row: DeviceFacts, limit: float) -> bool:
    return row.storage_free_bytes is not None and row.storage_free_bytes < limit


def _worn(row: DeviceFacts, limit: float) -> bool:
    return row.storage_wear_percent is not None and row.storage_wear_percent >= limit


def _rollout(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    words = {
        "paused": ("is paused", "When it may go on: edgefleet rollout resume."),
        "gone-back": ("was taken back", "See which devices failed and why; then publish a release that does not."),
    }
    found = []
    for row in facts.rollouts:
        if row.late_failures:
            found.append(_late(rule, row))
        if row.status not in words:
            continue
        said, next_step = words[row.status]
        text = f"{row.release} {said} in {row.region}: {row.why}"
        evidence = f"/v1/rollouts/{quote(row.region)}"
        found.append(
            Finding(rule, row.region, f"{row.release} {row.status}", (row.release,), text, evidence, next_step)
        )
    return found


def _late(rule: Rule, row: RolloutFacts) -> Finding:
    names = [device for device, _ in row.late_failures]
    return Finding(
        rule, row.region, f"{row.release} late failures", tuple(sorted(names)),
        f"{row.release} is what {row.region} runs, and fails on {_many(names, 'device')} that came to it after its rollout was "
        f"complete: {row.late_failures[0][0]} ({row.late_failures[0][1]})",
        f"/v1/rollouts/{quote(row.region)}",
        "See what these devices have in common: edgefleet device show. To take the release back: edgefleet rollout roll-back.",
    )  # fmt: skip


def _expiry(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    found = []
    for row in facts.expiries:
        days = (row.ends_s - now) / DAY_S
        if days < rule.limit:
            when = f"ends in {days:.0f} days" if days > 0 else f"ended {-days:.0f} days ago"
            text = f"{row.name} {when}"
            found.append(Finding(rule, "", row.name, (row.name,), text, "/metrics", row.next_step))
    ends: dict[str, list[str]] = {}
    for device in facts.devices:
        # A device renews by itself in its certificate's last third; a month before the end it has not managed for long.
        if device.certificate_ends_s is not None and device.certificate_ends_s - now < min(rule.limit, 14.0) * DAY_S:
            ends.setdefault(device.region or "", []).append(device.id)
    for region, names in sorted(ends.items()):
        text = f"certificates of {_many(names, 'device')} in {region or 'no region'} end soon: {_some(names)}"
        step = "They renew by themselves when they reach the enrolment address: see whether they can."
        where = f"/v1/devices?region={quote(region)}" if region else "/v1/devices"
        found.append(Finding(rule, region, "device certificates", tuple(sorted(names)), text, where, step))
    return found


def _refused(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    found = []
    for name, (count, reason) in sorted(facts.refused.items()):
        if count >= rule.bound((rule.name, "", name) in opened):
            text = f"{name.replace('_', ' ')}: {count} in the last ten minutes, the last: {reason}"
            step = "If one device is behind it: edgefleet device show; if nobody knows it: edgefleet device revoke."
            found.append(Finding(rule, "", name, (name,), text, "/healthz", step))
    return found


def _broker(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    if facts.broker_connected:
        return []
    text = "the server has no connection to its broker: it hears of no device, and nothing that it signs goes out"
    return [Finding(rule, "", "broker", ("broker",), text, "/healthz", "On the server: edgefleet server check.")]


def _gone(facts: AlertFacts, rule: Rule, opened: Open, now: float) -> list[Finding]:
    found = []
    for row in facts.gone:
        if now - row.spoke_s > rule.limit:
            continue
        text = f"{row.id} was decommissioned by {row.by} and speaks again ({row.kind}); nothing that it says is taken"
        step = (
            f"Find it and end it; what it is known by: edgefleet device revoke {row.id}. If it is to be back: "
            f"edgefleet device readmit {row.id}"
        )
        found.append(Finding(rule, row.region or "", row.id, (row.id,), text, "/v1/decommissioned", step))
    return found


FINDERS: Mapping[str, Callable[[AlertFacts, Rule, Open, float], list[Finding]]] = {
    "silent": _silent,
    "latency": _latency,
    "drift": _drift,
    "rollout": _rollout,
    "expiry": _expiry,
    "refused": _refused,
    "broker": _broker,
    "gone": _gone,
    "battery": _devices(
        _empties, "battery", "will be empty in less than {limit:.0f} hours",
        "See whether the sun or the charger is there; a policy with a battery floor, or a smaller variant, makes it last.",
    ),
    "heat": _devices(
        _hot, "heat", "are at {limit:.0f} °C or more", "Shade, air or a heat sink; a device throttles and then answers late."
    ),
    "storage": _devices(
        _free, "storage", "have less than {limit:.2g} bytes of storage left",
        "A release may not fit any more. See what fills it: edgefleet device command DEVICE diagnose.",
    ),
    "wear": _devices(
        _worn, "wear", "have used {limit:.0f} % of their storage's life", "Exchange the storage before it ends."
    ),
    "cloned": _devices(
        lambda row, _: row.cloned is not None, "cloned", "speak with two voices",
        "Find the copy and end it; then: edgefleet device clear-alarm, or edgefleet device revoke.",
    ),
    "trust": _devices(
        lambda row, _: row.trust_problem is not None, "trust", "refuse what they are told to trust",
        "See the device's own words; the clock, an old root, or somebody between it and the broker.",
    ),
}  # fmt: skip


def _many(names: Collection[str], word: str) -> str:
    return f"{len(names)} {word}{'' if len(names) == 1 else 's'}"


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:5]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _long(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
