"""What a region is set to: its policy, what of its telemetry goes where, its broker and its key. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgefleet_protocol.leaving import GROUPS, unknown
from edgefleet_protocol.policy_check import contradictions as policy_contradictions
from edgefleet_protocol.rollout import Policy

from ..errors import BadRequest
from ..misfit import misfit

Label = Annotated[str, Meta(max_length=64)]
Place = Annotated[str, Meta(max_length=64, pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z")]
Address = Annotated[
    str, Meta(max_length=260, pattern=r"^(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,45}\]):[1-9][0-9]{0,4}\Z")
]


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where measurements of the region's devices may be, and for how long. What may leave a device is its policy's to say."""

    kept_at: Annotated[tuple[Place, ...], Meta(max_length=16)] = ()
    """Places, as servers call theirs with `place`, where all that left a device may be kept; none named means any."""
    elsewhere: Annotated[tuple[Label, ...], Meta(max_length=32)] = ()
    """Groups of measurements that may be kept at other places too; none named means all, `none` means counts only."""
    keep_days: Annotated[float, Meta(gt=0, le=3660)] | None = None
    """Of windows: it only shortens what server.toml allows; None: as long as that."""


class RegionSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One version of a region."""

    policy: Policy = Policy()
    telemetry: TelemetrySettings = TelemetrySettings()
    broker: Address | None = None
    """`host:port` of the region's own broker, as its devices reach it: told to those that enrol there."""
    online_key: Annotated[str, Meta(pattern=r"^[0-9a-f]{8,64}\Z")] | None = None
    """The beginning of the id of the key that signs the region's rollouts: a server with another one refuses to apply this."""


@dataclass(frozen=True)
class Change:
    """One setting that differs between two versions; None is what is not set."""

    key: str
    before: Any
    after: Any


def read(region: str, rows: Mapping[str, Any]) -> RegionSettings:
    """Return the settings that `rows` say; raise BadRequest for what is not known, of the wrong kind, or contradicts itself."""
    _known(f"regions.{region}", rows, RegionSettings)
    for name, kind in (("policy", Policy), ("telemetry", TelemetrySettings)):
        inner = rows.get(name, {})
        if not isinstance(inner, Mapping):
            raise BadRequest(f"regions.{region}.{name} must be a table, as in [regions.{region}.{name}]")
        _known(f"regions.{region}.{name}", inner, kind)
    try:
        settings = msgspec.convert(rows, RegionSettings)
    except msgspec.ValidationError as error:
        raise BadRequest(f"regions.{region}: {misfit(error, rows, RegionSettings)}") from error
    if found := contradictions(settings):
        raise BadRequest(f"regions.{region} contradicts itself: {'; '.join(found)}")
    return settings


def contradictions(settings: RegionSettings) -> tuple[str, ...]:
    """Return what disagrees in `settings`, each with both values; nothing when they are sound."""
    found = list(policy_contradictions(settings.policy))
    out, kept = settings.policy.telemetry_fields, settings.telemetry
    if foreign := unknown(kept.elsewhere):
        found.append(f"telemetry.elsewhere names {', '.join(foreign)}; the groups are {', '.join(GROUPS)}")
    elif "none" in kept.elsewhere and len(kept.elsewhere) > 1:
        rest = ", ".join(name for name in kept.elsewhere if name != "none")
        found.append(f"telemetry.elsewhere says none and {rest}")
    elif out and (more := [name for name in kept.elsewhere if name not in out and name != "none"]):
        found.append(
            f"telemetry.elsewhere lets {', '.join(more)} out of the region, and policy.telemetry_fields lets only "
            f"{', '.join(out)} out of the device"
        )
    if kept.elsewhere and not kept.kept_at:
        found.append(
            f"telemetry.elsewhere is {', '.join(kept.elsewhere)} and telemetry.kept_at names no place, so nowhere is elsewhere"
        )
    if settings.broker is not None and int(settings.broker.rpartition(":")[2]) > 65535:
        found.append(f"broker is {settings.broker}, and ports end at 65535")
    return tuple(found)


def differences(before: RegionSettings, after: RegionSettings) -> tuple[Change, ...]:
    """Return what is set otherwise, by dotted name."""
    old, new = _flat("", msgspec.to_builtins(before)), _flat("", msgspec.to_builtins(after))
    return tuple(
        Change(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)
    )


def to_bytes(settings: RegionSettings) -> bytes:
    """Return the settings as they are stored."""
    return msgspec.json.encode(settings, order="deterministic")


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    policy: Policy = Policy()
    telemetry: dict[str, Any] = {}
    broker: str | None = None
    online_key: str | None = None


def from_bytes(data: bytes) -> RegionSettings:
    """Return what was stored, also by a later version, whose further settings are passed over."""
    row = msgspec.json.decode(data, type=_Stored)
    known = {key: value for key, value in row.telemetry.items() if key in TelemetrySettings.__struct_fields__}
    return RegionSettings(
        policy=row.policy,
        telemetry=msgspec.convert(known, TelemetrySettings),
        broker=row.broker,
        online_key=row.online_key,
    )


def _flat(name: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in rows.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping) and value:
            flat |= _flat(path, value)
        elif not isinstance(value, Mapping):
            flat[path] = value
    return flat


def _known(where: str, rows: Mapping[str, Any], kind: Any) -> None:
    if extra := sorted(set(rows) - set(kind.__struct_fields__)):
        raise BadRequest(f"{where}.{extra[0]} is not known. Known here: {', '.join(kind.__struct_fields__)}")
