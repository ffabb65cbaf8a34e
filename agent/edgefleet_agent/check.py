"""`edgefleet agent check`: what on this device would keep the agent from its work, one finding a line."""

import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

from .config import Config
from .identity import FOLDER, KEY

BUILT_S = 1_764_028_800.0
"""2025-11-25: a clock before it is wrong."""
CONNECT_S = 5.0
PLUGIN_S = 5.0
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


Level = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """How one thing is. `failed` keeps the agent from its work; `warning` costs something."""

    name: str
    level: Level
    words: str


def findings(config: Config) -> list[Finding]:
    """Return every finding. Takes a few seconds, most of them where something does not answer."""
    found: list[Finding] = []
    checks: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _clock, _disk, _system, _permissions, _broker, _runtime, _limits, _sensors, _cgroup,
    )  # fmt: skip
    for check in checks:
        try:
            found += check(config)
        except Exception as error:
            found.append(Finding(check.__name__.strip("_"), "warning", f"could not be looked at: {error}"))
    return found


def words(found: list[Finding]) -> str:
    """Return the findings for people."""
    marks = {"ok": "OK      ", "warning": "WARNING ", "failed": "FAILED  "}
    return "".join(f"{marks[row.level]}{row.name}: {row.words}\n" for row in found)


def _clock(_config: Config) -> Iterator[Finding]:
    now = time.time()
    if now < BUILT_S:
        yield Finding(
            "clock", "warning", f"it is {time.strftime('%Y-%m-%d', time.gmtime(now))}: wrong; is NTP allowed out?"
        )
    else:
        yield Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def _disk(config: Config) -> Iterator[Finding]:
    there = next(path for path in (config.state, *config.state.parents) if path.exists())
    row = os.statvfs(there)
    free, reserve = row.f_bavail * row.f_frsize, config.limits.reserve_bytes
    said = f"{free / 1e6:.0f} MB free for {config.state}, of which {reserve / 1e6:.0f} MB are kept for the system"
    yield Finding("disk", "ok" if free > 2 * reserve else "warning" if free > reserve else "failed", said)
    if row.f_files and row.f_favail < 1000:
        yield Finding("disk", "warning", f"only {row.f_favail} more files can be made")
    if row.f_flag & os.ST_RDONLY:
        yield Finding("disk", "failed", f"{there} is read-only")


def _system(config: Config) -> Iterator[Finding]:
    from .hardware.board import system
    from .hardware.oddities import oddities

    found = oddities(config.hardware.root, config.state, config.hardware.machine)
    yield from (Finding("system", "warning", words) for words in found)
    if not found:
        yield Finding(
            "system", "ok", system(config.hardware.root) or "it does not say its name, and nothing odd is known of it"
        )


def _permissions(config: Config) -> Iterator[Finding]:
    for name, path in (("state", config.state), ("run", config.run)):
        there = next(each for each in (path, *path.parents) if each.exists())
        if not os.access(there, os.W_OK):
            yield Finding("permissions", "failed", f"{name} is {path}, which user {os.geteuid()} may not write")
    key = config.state / FOLDER / KEY
    if key.exists() and key.stat().st_mode & 0o077:
        yield Finding("permissions", "failed", f"others may read the device's key: chmod 600 {key}")
    elif key.exists():
        yield Finding("identity", "ok", "the device's key is its own")
    else:
        yield Finding("identity", "warning", "no identity yet: edgefleet agent enrol URL")


def _broker(config: Config) -> Iterator[Finding]:
    host, port = config.broker.host, config.broker.port
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        yield Finding("dns", "failed", f"{host} has no address: {error.strerror or error}")
        return
    yield Finding("dns", "ok", f"{host} is {address[4][0]}")
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), CONNECT_S) as sock:
            if config.broker.ca is not None:
                context = ssl.create_default_context(cafile=str(config.broker.ca))
                if config.broker.certificate is not None and config.broker.key is not None:
                    context.load_cert_chain(config.broker.certificate, config.broker.key)
                with context.wrap_socket(sock, server_hostname=host):
                    pass
    except (OSError, ValueError) as error:
        yield Finding("broker", "failed", f"{host}:{port}: {error}. What is on the device is served all the same")
        return
    yield Finding("broker", "ok", f"{host}:{port} answers in {1000 * (time.monotonic() - began):.0f} ms")


def _runtime(config: Config) -> Iterator[Finding]:
    from .hardware import board
    from .hardware.runtimes import ask, installed

    version, providers = installed(), ask()
    if version is None:
        yield Finding("runtime", "failed", "no onnxruntime is installed: apt install edgefleet-runtime")
        return
    if not providers:
        yield Finding(
            "runtime", "failed", f"onnxruntime {version} is installed and cannot be imported by {sys.executable}"
        )
        return
    yield Finding("runtime", "ok", f"onnxruntime {version} with {', '.join(providers)}")
    several = sorted({str(row.metadata["Name"]).lower() for row in distributions()} & set(RUNTIMES))
    if len(several) > 1:
        yield Finding("runtime", "warning", f"{' and '.join(several)} are both installed and share one folder: remove both, "
                      "then install the one that is wanted")  # fmt: skip
    gpu = board.accelerator(board.compatible(config.hardware.root))
    if gpu is not None and not any(name.startswith(("CUDA", "Tensorrt")) for name in providers):
        shadow = "A CPU wheel hides the GPU's. " if version and len(several) > 1 else ""
        yield Finding("gpu", "warning", f"this board has a GPU ({gpu}) and onnxruntime {version} has no CUDA provider, only "
                      f"{', '.join(providers)}: models run on the CPU. {shadow}See docs/guides/jetson.md")  # fmt: skip


def _limits(config: Config) -> Iterator[Finding]:
    unit, held = _of_a_worker(config)
    yield unit
    network, memory = held.get("network", "none"), held.get("memory", "none")
    if network == "namespace":
        yield Finding("namespaces", "ok", "workers run in a network namespace of their own, without a network")
    elif network == "seccomp":
        yield Finding("namespaces", "warning", "user namespaces are forbidden here (see kernel.unprivileged_userns_clone, "
                      "kernel.apparmor_restrict_unprivileged_userns): workers are kept from the network by seccomp")  # fmt: skip
    else:
        yield Finding("namespaces", "failed", f"workers could reach the network: {network}")
    yield Finding("memory limit", "warning" if memory.startswith("none") else "ok", memory)


def _of_a_worker(config: Config) -> tuple[Finding, dict[str, str]]:
    """Return whether a worker gets a unit of its own, and which limits hold in that, else in a child."""
    from .serve.errors import NoUnit
    from .serve.probing import DOOR, PACKAGED_DOOR, limits_in_child, limits_in_unit

    door, held = Path(os.environ.get(DOOR) or PACKAGED_DOOR), None
    level: Level = "ok"
    if config.serve.allow_uids or config.serve.allow_gids:
        said = "none: workers are children of the agent, because serve.allow_* wants them to know who asks"
    elif not door.exists():
        said = f"none: workers are children of the agent, because there is no {door}, where systemd gives units"
    elif not os.access(door, os.W_OK):
        level = "warning"
        said = (
            f"user {os.geteuid()} may not ask for one at {door}, so what is told next is of a child: check as the agent's "
            "user, sudo -u edgefleet edgefleet agent check"
        )
    else:
        try:
            held = limits_in_unit(door)
            said = f"each worker gets one, by {door}; what is told next is of one"
        except NoUnit as error:
            level, said = "warning", f"none came: {error}. Workers are children of the agent meanwhile"
    return Finding("worker units", level, said), held or limits_in_child()


def _sensors(config: Config) -> Iterator[Finding]:
    from .hardware.probe import HardwareProbe

    window = HardwareProbe(config.state, config.hardware.root, config.hardware.machine, keep=False).device_window()
    names = ("temperature_c", "throttled", "power_w", "battery_percent")
    there = [name for name in names if getattr(window, name) is not None]
    lacking = [name for name in names if name not in there]
    yield Finding(
        "sensors", "ok", f"{', '.join(there) or 'none'}" + (f"; not here: {', '.join(lacking)}" if lacking else "")
    )
    if window.throttled:
        yield Finding("sensors", "warning", f"the clock is held back now: {', '.join(window.throttled)}")
    yield from _plugins(config)


def _plugins(config: Config) -> Iterator[Finding]:
    """Each plug-in that the owner named is asked once, and waited for a little."""
    from .hardware.plugins import Plugins, find

    found, troubles = find(config.hardware.sensors)
    yield from (Finding("sensors", "warning", words) for words in troubles)
    asked, ends = Plugins(found, config.hardware.root), time.monotonic() + PLUGIN_S
    while asked.answered < set(found) and time.monotonic() < ends:
        time.sleep(0.02)
    for name in found:
        row = asked.of(name)
        if name not in asked.answered:
            yield Finding("sensors", "warning", f"the plug-in {name} has not answered within {PLUGIN_S:.0f} s")
        elif name in asked.troubles:
            yield Finding("sensors", "warning", f"the plug-in {name} failed: {asked.troubles[name]}")
        elif row is None:
            yield Finding("sensors", "warning", f"the plug-in {name} finds nothing here")
        else:
            said = {key: value for key, value in vars(row).items() if value is not None}
            yield Finding("sensors", "ok", f"{name}: {', '.join(f'{key} {value}' for key, value in said.items())}")


def _cgroup(config: Config) -> Iterator[Finding]:
    root = config.hardware.root / "sys/fs/cgroup"
    controllers = root / "cgroup.controllers"
    known = controllers.read_text().split() if controllers.exists() else [p.name for p in root.glob("*") if p.is_dir()]
    if "memory" in known:
        yield Finding("cgroup", "ok", "the memory controller is on, so MemoryMax= holds")
    else:
        yield Finding("cgroup", "warning", "no memory controller, so MemoryMax= does nothing. Raspberry Pi: add "
                      "cgroup_enable=memory to /boot/firmware/cmdline.txt")  # fmt: skip


def exit_code(found: list[Finding]) -> int:
    """Return 1 when something failed; a warning alone is no failure."""
    return int(any(row.level == "failed" for row in found))
