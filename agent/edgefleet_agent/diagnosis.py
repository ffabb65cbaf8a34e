"""The command `diag`: what a running agent knows of itself, in words, for somebody who cannot come here, and nothing secret.

Whoever is at the device, or has one whose agent is dead, uses `edgefleet agent diag`, which is `bundle`.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState

from . import __version__
from .config import Config
from .observe import Documents
from .rules.redact import redacted
from .store import Store, owner

LOG_LINES = 100


def diagnosis(
    config: Config,
    store: Store,
    documents: Documents,
    hardware: Hardware,
    state: DeviceState,
    lines: Sequence[str],
    free: Mapping[str, object],
) -> str:
    """Return the whole diagnosis. lines: the last of the log. free: what the device has left, by name."""
    from .status import explain_words, explained, status_words

    hands, told = owner.read(store.disk, store.state), {row.model: row for row in state.models}
    rows = explained(config.device, store, documents, hardware, hands, told)
    facts, trust = store.facts.facts, store.facts.trust
    parts = [
        ("status", status_words(state, True)),
        ("explain", explain_words(rows, hardware)),
        ("versions", f"agent {__version__}, Python {hardware.python}, {hardware.os}"),
        ("hardware", fields(msgspec.to_builtins(hardware).items())),
        ("left", fields(free.items())),
        ("limits held", fields(state.limits_held.items())),
        ("trust", fields([*sorted(trust.verified.items()), ("refused", dict(trust.refused)), ("ends", trust.expires)])),
        ("owner", fields(msgspec.to_builtins(hands).items())),
        ("counters", fields([("starts", facts.boots), ("events waiting", len(facts.events)),
                              ("windows dropped", facts.dropped_windows)])),
        ("settings", fields(settings(config))),
        ("log", "\n".join(lines[-LOG_LINES:]) or "no lines are kept"),
    ]  # fmt: skip
    return redacted("".join(f"== {name}\n{text.rstrip()}\n\n" for name, text in parts))


def settings(config: Config) -> Iterable[tuple[str, object]]:
    """Return each setting by name. Where keys lie may be told; what is in them is not read here at all."""
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, msgspec.Struct):
            yield from ((f"{name}.{key}", getattr(value, key)) for key in value.__struct_fields__)
        else:
            yield name, value


def fields(rows: Iterable[tuple[str, object]]) -> str:
    """Return a line for each row that says something."""
    return "\n".join(f"{name}: {value}" for name, value in rows if value not in (None, "", (), {})) or "nothing"
