"""What holds in a region now: its newest version, else what server.toml says; and what may be kept of its devices' windows."""

import threading
from collections.abc import Sequence

from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import Window

from ..config import ServerConfig
from ..store import devices, regions
from ..store.database import Connection
from .residency import kept_groups, kept_window
from .settings import RegionSettings

LOOK_EVERY_S = 5.0
"""Another process over the same database may have applied a version."""


def settings_of(connection: Connection, region: str, config: ServerConfig) -> RegionSettings:
    """Return the region's settings: the newest version, else the policy of server.toml and nothing more."""
    found = regions.current(connection, region)
    return found.settings if found is not None else RegionSettings(policy=config.policy(region))


def policy_of(connection: Connection, region: str, config: ServerConfig) -> Policy:
    """Return the policy that a rollout there has when it brings none of its own."""
    return settings_of(connection, region, config).policy


def own_broker(connection: Connection, region: str) -> tuple[str, int] | None:
    """Return host and port of the region's own broker, as its devices reach it; None where it has none."""
    found = regions.current(connection, region)
    if found is None or found.settings.broker is None:
        return None
    host, _, port = found.settings.broker.rpartition(":")
    return host.strip("[]"), int(port)


def keep_days(connection: Connection) -> dict[str, float]:
    """Return for how many days each region that says so has its measurements kept."""
    rows = regions.every_current(connection)
    return {name: row.settings.telemetry.keep_days for name, row in rows.items() if row.settings.telemetry.keep_days}


class Residency:
    """Takes out of windows what must not be kept here. Knows each region's rule for a few seconds."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._read_s = float("-inf")
        self._rules: dict[str, RegionSettings] = {}

    def forget(self) -> None:
        """A version was applied: look anew."""
        self._read_s = float("-inf")

    def kept(self, connection: Connection, device: str, window: Window, now: float) -> Window:
        """Return what of `window` may be stored. A device of no region, or of one without rules, is not looked up twice."""
        return self.kept_each(connection, [(device, window)], now)[0]

    def kept_each(
        self, connection: Connection, windows: Sequence[tuple[str, Window]], now: float
    ) -> tuple[Window, ...]:
        """Return the same for many windows, each with the device that it is of: regions are asked for once."""
        rules = self._current(connection, now)
        if not rules:
            return tuple(window for _, window in windows)
        regions_of = devices.regions_of(connection, tuple({device for device, _ in windows}))
        place = self._config.kept_at
        return tuple(kept_window(window, rules.get(regions_of.get(device) or ""), place) for device, window in windows)

    def _current(self, connection: Connection, now: float) -> dict[str, RegionSettings]:
        with self._lock:
            if not 0 <= now - self._read_s < LOOK_EVERY_S:
                rows = {region: RegionSettings(policy=policy) for region, policy in self._config.policies.items()}
                rows |= {region: row.settings for region, row in regions.every_current(connection).items()}
                self._rules = {region: row for region, row in rows.items() if kept_groups(row, self._config.kept_at)}
                self._read_s = now
            return self._rules
