"""Where the demo keeps its things, and the configuration files that it writes for the parts."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgefleet_protocol.rollout import Policy

from .cast import DEVICES, FLEET, POLICIES, Player


@dataclass(frozen=True)
class Layout:
    """Paths below one folder. It must be short: the path of a Unix socket may have 107 bytes."""

    folder: Path

    @property
    def repository(self) -> Path:
        """The TUF repository."""
        return self.folder / "repository"

    @property
    def keys(self) -> Path:
        """Offline and online keys; a real team keeps them apart."""
        return self.folder / "keys"

    @property
    def passphrase(self) -> Path:
        """The file that unlocks them."""
        return self.folder / "passphrase"

    @property
    def hardware(self) -> Path:
        """The boards' files that the agents' probes read."""
        return self.folder / "hardware"

    @property
    def example(self) -> Path:
        """The workload and its recipes, as `edgefleet compress example` writes them."""
        return self.folder / "example"

    @property
    def logs(self) -> Path:
        """What every process printed."""
        return self.folder / "logs"

    @property
    def server_config(self) -> Path:
        """server.toml."""
        return self.folder / "server.toml"

    @property
    def answers(self) -> Path:
        """Which package holds the right answers of which release, for the load."""
        return self.folder / "answers.json"

    def package(self, number: int) -> Path:
        """The folder that `compress run` made for release NUMBER."""
        return self.folder / f"package-{number}"

    def proposal(self, number: int) -> Path:
        """The file that moves between the holders of keys."""
        return self.folder / f"fashion-{number}.proposal"

    def agent_config(self, player: Player) -> Path:
        """agent.toml of one device."""
        return self.folder / player.id / "agent.toml"

    def run(self, player: Player) -> Path:
        """Where one device's sockets are."""
        return self.folder / player.id / "run"


def write(layout: Layout, broker_port: int, http_port: int) -> None:
    """Write the passphrase, server.toml and each device's agent.toml."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    layout.passphrase.touch(mode=0o600)
    layout.passphrase.write_text(secrets.token_urlsafe(24) + "\n")
    layout.server_config.write_text(_server_toml(layout, broker_port, http_port))
    for player in DEVICES:
        layout.agent_config(player).parent.mkdir(parents=True, exist_ok=True)
        layout.agent_config(player).write_text(_agent_toml(layout, player, broker_port))


def _server_toml(layout: Layout, broker_port: int, http_port: int) -> str:
    lines = [
        f'repository = "{layout.repository}"',
        f'keys = "{layout.keys}"',
        f'data = "{layout.folder}/server"',
        "[broker]",
        'host = "127.0.0.1"',
        f"port = {broker_port}",
        "open = true",
        "[http]",
        'host = "127.0.0.1"',
        f"port = {http_port}",
        "open = true",
        "[rollouts]",
        "tick_s = 0.5",
    ]
    for region, policy in POLICIES.items():
        lines += [f"[regions.{region}.policy]", *_toml(policy)]
    return "\n".join(lines) + "\n"


def _toml(policy: Policy) -> list[str]:
    rows = []
    for key, value in msgspec.to_builtins(policy).items():
        if isinstance(value, dict):
            rows.append(f"{key} = {{ {', '.join(f'{name} = {json.dumps(word)}' for name, word in value.items())} }}")
        else:
            rows.append(f"{key} = {json.dumps(value)}")
    return rows


def _agent_toml(layout: Layout, player: Player, broker_port: int) -> str:
    home = layout.agent_config(player).parent
    return "\n".join(
        [
            f'fleet = "{FLEET}"',
            f'device = "{player.id}"',
            f'state = "{home}/state"',
            f'run = "{layout.run(player)}"',
            f'root = "{layout.repository}/metadata/1.root.json"',
            "[broker]",
            'host = "127.0.0.1"',
            f"port = {broker_port}",
            "[hardware]",
            f'root = "{layout.hardware}/{player.board}"',
            'machine = "aarch64"',
            "",
        ]
    )
