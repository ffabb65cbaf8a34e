"""How the page writes numbers, times and states. Pure."""

from datetime import UTC, datetime
from typing import Any

KIND = {
    "proven": "good", "probation": "busy", "trying": "busy", "fetching": "busy", "waiting": "busy", "failed": "bad",
    "idle": "idle", "running": "busy", "paused": "busy", "complete": "good", "gone-back": "bad", "superseded": "idle",
    "under way": "busy", "away": "busy", "offline": "idle", "frozen": "idle", "left out": "idle", "outside": "idle",
    "online": "good", "silent": "idle", "quarantine": "bad", "stuck": "bad",
    "open": "bad", "acknowledged": "busy", "silenced": "idle", "resolved": "good",
    "passed": "good", "to come": "idle", "ended": "idle",
    "worse": "bad", "not worse": "good", "too little": "busy",
    "critical": "bad", "warning": "busy", "info": "idle",
}  # fmt: skip
"""What a word means at a glance: a colour and a shape beside it, never without it."""
WORD = {"gone-back": "went back", "too little": "too little evidence"}
BAD_EVENTS = ("fail", "refus", "fell", "crash", "no-space", "problem", "cloned", "quarantine")


def kind(word: str) -> str:
    """Return good, busy, bad or idle."""
    return KIND.get(word, "idle")


def event_kind(word: str) -> str:
    """Return the same of an event."""
    if any(part in word for part in BAD_EVENTS):
        return "bad"
    return "good" if word in ("proven", "activated") else "idle"


def say(word: str) -> str:
    """Return a state as people say it."""
    return WORD.get(word, word)


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds, with as many digits as are worth reading."""
    if seconds is None:
        return "–"
    value = seconds * 1e3
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 or not value else f"{value:.2f} ms"


def megabytes(size: float | None) -> str:
    """Return bytes as 10^6 or 10^9 bytes."""
    if size is None:
        return "–"
    return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def celsius(value: float | None) -> str:
    """Return a temperature."""
    return "–" if value is None else f"{value:.0f} °C"


def percent(value: float | None) -> str:
    """Return a percentage from 0 to 100."""
    return "–" if value is None else f"{value:.0f} %"


def share(value: float | None) -> str:
    """Return a share from 0 to 1 as a percentage."""
    return "–" if value is None else f"{value * 100:.1f} %" if 0 < value < 0.1 else f"{value * 100:.0f} %"


def watts(value: float | None) -> str:
    """Return a power."""
    return "–" if value is None else f"{value:.2f} W"


def joules(value: float | None) -> str:
    """Return an energy."""
    if value is None:
        return "–"
    return f"{value * 1e3:.0f} mJ" if value < 1 else f"{value:.1f} J" if value < 1e4 else f"{value / 3.6e3:.1f} Wh"


def count(value: float | None) -> str:
    """Return a number with its thousands apart."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def ago(now: float, then: float | None) -> str:
    """Return how long ago `then` was."""
    if then is None:
        return "never"
    seconds = max(0.0, now - then)
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {word} ago"
    return "now" if seconds < 3 else f"{seconds:.0f} s ago"


def moment(seconds: float) -> str:
    """Return a moment as a machine reads it."""
    return datetime.fromtimestamp(max(0.0, min(seconds, 253402300799.0)), UTC).isoformat(timespec="seconds")


def power(device: dict[str, Any]) -> str:
    """Return how a device is powered: a battery's charge, `mains` where there is none."""
    if device["power_source"] is None:
        return "–"
    if device["battery_percent"] is None:
        return "mains"
    return f"{device['battery_percent']:.0f} %{', charging' if device['battery_charging'] else ''}"


def throttling(device: dict[str, Any]) -> str:
    """Return why the clock is held back now; `no`; a dash where nobody can say."""
    return "–" if device["throttled"] is None else ", ".join(device["throttled"]) or "no"


def standing(device: dict[str, Any], model: dict[str, Any] | None) -> tuple[str, str]:
    """Return the kind and the word for where a device stands with a model."""
    if device["alarm"]:
        return "bad", "quarantine"
    if device["frozen"]:
        return "bad", f"{model['phase']}, frozen" if model else "frozen"
    if device["trust_problem"]:
        return "bad", f"{model['phase']}, stuck" if model else "stuck"
    if model is None:
        return "idle", "idle" if device["hardware_class"] else "unknown"
    return kind(model["phase"]), model["phase"]


def reason(device: dict[str, Any], model: dict[str, Any] | None) -> str:
    """Return what keeps a device from what is wanted, in its own words; else why it chose what it runs."""
    words = [device["alarm"]["why"]] if device["alarm"] else []
    words += [f"trust: {device['trust_problem']}"] if device["trust_problem"] else []
    words += [model["why"]] if model and model["phase"] in ("waiting", "fetching", "failed") and model["why"] else []
    return "; ".join(words) or (model or {}).get("chosen_why") or ""
