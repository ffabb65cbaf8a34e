"""The real agent: the seams filled with the real things, and the loop around its turns."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

import msgspec

from . import __version__, logbook
from .agent import Agent
from .clock import SystemClock
from .config import Config, check_run_folder
from .errors import AlreadyRuns, BadConfig
from .identity import Identity
from .identity_files import settle
from .identity_renewal import Renewal
from .link.standing import Standing
from .log import LOG
from .notify import Notifier, words_of
from .store import Store
from .store.disk import Disk

STATE_FILE, BROKER_FILE = "state.json", "broker.json"
"""In the run folder, which is in memory: what the agent last told, and how it stands with the broker, for `status`.
Not facts, so never synced."""
LOCK_TRIES = 5
"""`status` holds the lock for an instant to see whether anybody else does: an agent that starts just then tries again."""


def run(config: Config) -> int:
    """Run until SIGTERM or SIGINT; return 0 when it ended in good order."""
    # Imported here, so that `status` and `explain` start fast and need none of it.
    from .hardware.oddities import oddities
    from .hardware.probe import HardwareProbe
    from .link.mqtt import MqttLink
    from .looker import ChildLooker
    from .serve.kept import Kept
    from .serve.launcher import ProcessLauncher
    from .serve.probing import DOOR
    from .serve.sockets import access_of

    logbook.keep()
    if not config.root.is_file():
        raise BadConfig(f"root names {config.root} and there is no such file: copy 1.root.json of the fleet there")
    check_run_folder(config.run)
    config.state.mkdir(parents=True, exist_ok=True, mode=0o750)
    try:
        config.run.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        # Each model tries again to bind its sockets there, and tells why it cannot: whoever mends the folder need do no more.
        LOG.warning("run is %s and cannot be made: %s; it is tried again", config.run, error.strerror)
    with only_one(config.state):
        settle(config.state)
        identity = Identity.load(config.state)
        LOG.info(
            "edgefleet agent %s: device %s of fleet %s, state %s, sockets %s",
            *(__version__, config.device, config.fleet, config.state, config.run),
        )
        for odd in oddities(config.hardware.root, config.state, config.hardware.machine):
            LOG.warning("%s", odd)
        broker = config.broker
        link = MqttLink(
            config.device,
            broker.host,
            broker.port,
            keepalive_s=broker.keepalive_s,
            ca=broker.ca,
            certificate=broker.certificate,
            key=broker.key,
        )
        kept = Kept(config.run, Notifier())
        door = Path(known) if (known := os.environ.get(DOOR)) else None
        access = access_of(config.serve)
        launcher = ProcessLauncher(config.run, config.serve.port_base, access=access, kept=kept, door=door)
        agent = Agent(
            SystemClock(),
            link,
            Store(Disk(), config.state),
            launcher,
            HardwareProbe(config.state, config.hardware.root, config.hardware.machine, plugins=config.hardware.sensors),
            ChildLooker(config.run),
            config,
            signer=identity,
        )
        renewal = Renewal(config.state, link, agent.clock.monotonic()) if identity is not None else None
        with telling_home(config) as at_home:
            turn_until_stopped(agent, link, config.run, renewal, at_home)
        launcher.finish(config.serve.drain_s)
    return 0


@contextlib.contextmanager
def telling_home(config: Config) -> Iterator[Callable[[Agent], None]]:
    """Give what tells Home Assistant of a window that was closed; it does nothing where the owner named no broker for it."""
    if not config.home_assistant.host:
        yield lambda agent: None
        return
    from .home import values
    from .link.home import HomeLink

    try:
        link, told = HomeLink(config), None
    except BadConfig as error:  # a pleasure for the owner, which must not keep the models from being served
        LOG.warning("Home Assistant is told nothing: %s", error)
        yield lambda agent: None
        return

    def tell(agent: Agent) -> None:
        nonlocal told
        if (window := agent.telling.window) is not None and window is not told:
            told = window
            link.tell(values(window, agent.state), agent.hardware)

    link.start()
    try:
        yield tell
    finally:
        link.stop()


def turn_until_stopped(
    agent: Agent,
    link: "_Waits",
    run_folder: Path,
    renewal: "Renewal | None" = None,
    after_turn: Callable[[Agent], None] = lambda agent: None,
) -> None:
    """Turn until a signal says to end."""
    clock, told, stood, manager = agent.clock, None, None, Notifier()
    with _stop_signal(link) as stopped:
        while not stopped:
            wake_at = agent.turn(clock.monotonic())
            after_turn(agent)
            if renewal is not None:
                wake_at = min(wake_at, renewal.step(clock.monotonic(), agent.known_time_s()))
            if agent.state is not None and agent.state != told:
                told = agent.state
                _write(run_folder / STATE_FILE, msgspec.json.encode(told))
            if (stands := link.standing()) != stood:
                stood = stands
                _write(run_folder / BROKER_FILE, msgspec.json.encode(stood))
            _show(manager, agent, stands)
            if not stopped:
                sleep_s = wake_at - clock.monotonic()
                link.wait(sleep_s if manager.at_most_s is None else min(sleep_s, manager.at_most_s))
        manager.stopping()
        LOG.info("stopping: %s came", signal.Signals(stopped[0]).name)
        if renewal is not None:
            renewal.stop()
        agent.stop(clock.monotonic())
        LOG.info("stopped")
    for name in (STATE_FILE, BROKER_FILE):
        with contextlib.suppress(OSError):
            (run_folder / name).unlink()


def _show(manager: Notifier, agent: Agent, stands: Standing) -> None:
    """Tell the service manager that the loop came round, and that the agent is ready once its models had their turn."""
    manager.alive()
    manager.ready()
    serving = sum(live.server is not None and live.server.accepting_since is not None for live in agent.lives.values())
    manager.status(
        words_of(serving, len(agent.lives), "connected" if stands.connected else f"no broker at {stands.broker}")
    )


class _Waits(Protocol):
    """What the loop needs of the link beyond `seams.Link`."""

    def wait(self, timeout_s: float) -> None:
        """Sleep until there is something to do."""

    def wake(self) -> None:
        """End a `wait`."""

    def standing(self) -> Standing:
        """How it stands with the broker."""


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with contextlib.suppress(OSError):
        temporary.write_bytes(data)
        temporary.replace(path)


@contextlib.contextmanager
def _stop_signal(link: "_Waits") -> Iterator[list[int]]:
    """Give a list that is no longer empty once SIGTERM or SIGINT came."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        link.wake()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state folder; raise AlreadyRuns when another agent does. The kernel lets go when the process ends."""
    handle = os.open(state / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
        else:
            raise AlreadyRuns(f"another agent holds {state}: end it first, or give this one another state")
        yield
    finally:
        os.close(handle)


def is_running(state: Path) -> bool:
    """Return whether an agent holds the state folder now. Makes nothing: where no agent ever ran, none does."""
    try:
        handle = os.open(state / "agent.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
