"""`python -m edgefleet_agent.serve.worker`: one model in one process.

Takes its order from standard input, then its limits, then the model, then what the agent says on the control socket.
The order is what protects the device: no byte of a model is read before the limits hold and the network is gone.
"""

import fcntl
import os
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Literal

import msgspec

from ..seams import WorkerSpec
from .errors import NoRuntime, ServeError
from .limits import limits_of, take
from .messages import MAX_PACKET_BYTES, Do, Done, Failed, Imported, Order, Ready, Said, decode_do, decode_order, encode

TICK_S = 0.2
IDLE_WHEN_ENDING_S = 1.0
"""How long a connection on which nothing is asked may keep a worker that ends: who asks often is told with an answer."""


def main() -> int:
    """Do what standard input orders."""
    return work(decode_order(sys.stdin.buffer.read()))


def work(order: Order, *, in_unit: bool = False) -> int:
    """Do what `order` says; in_unit: in one of systemd's own. Returns the exit code: 0 done, 1 the model cannot be served."""
    control = socket.socket(fileno=order.control)
    # A worker that prints without end must not wait for an agent that reads now and then.
    os.set_blocking(2, False)
    # Before numpy is imported: the libraries below it start their threads at once, and namespaces need one thread.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    # Newer runtimes would tell their maker; nothing leaves from here anyhow, and its complaints hide a model's last words.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if order.trial_wall_s is not None:
        # Without a handler the kernel ends the process, also in the middle of the runtime's C code.
        signal.setitimer(signal.ITIMER_REAL, order.trial_wall_s)
        if in_unit:
            # No child of the agent dies with it by itself: here SIGIO ends it, once the agent's end of this is closed.
            fcntl.fcntl(control, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(control, fcntl.F_SETFL, fcntl.fcntl(control, fcntl.F_GETFL) | os.O_ASYNC)
    spec = order.spec
    held = take(limits_of(order, in_unit=in_unit))
    try:
        find_runtime(order.spec)
        _say(control, Imported())
        if order.trial_wall_s is not None:
            return _try(order, control, held)
        return _serve(order, control, held, in_unit=in_unit)
    except MemoryError:
        allowed = (spec.memory_limit_bytes or 0) / 1e6
        return _fail(control, f"it needs more memory than the {allowed:.0f} MB that its release allows", held)
    except (NoRuntime, ImportError) as error:
        return _fail(control, str(error), held, "runtime")
    except ServeError as error:
        return _fail(control, str(error), held)
    except Exception as error:
        return _fail(control, f"{type(error).__name__}: {error}", held)


def _fail(
    control: socket.socket, reason: str, held: dict[str, str], blame: Literal["variant", "runtime"] = "variant"
) -> int:
    _say(control, Failed(reason=reason[:1500], limits=held, blame=blame))
    return 1


def _say(control: socket.socket, message: Said) -> None:
    control.send(encode(message))


def find_runtime(spec: WorkerSpec) -> None:
    """Import the runtime of `spec`; raise NoRuntime when that cannot be done, so that it is told from a bad model."""
    from .runtime import RUNTIMES, named

    if spec.runtime in RUNTIMES:
        named(spec.runtime)


def _try(order: Order, control: socket.socket, held: dict[str, str]) -> int:
    from .model import open_model
    from .trial import try_model

    began = time.perf_counter()
    model = open_model(order.spec)
    load_s = time.perf_counter() - began
    report = try_model(order.spec, model, load_s, order.trial_wall_s or 60.0, open_model)
    _say(control, msgspec.structs.replace(report, limits=held))
    return 0


def _serve(order: Order, control: socket.socket, held: dict[str, str], *, in_unit: bool) -> int:
    from .core import Core
    from .counters import Counters
    from .door import Door, Queue
    from .memory import pss_bytes
    from .model import open_model
    from .oip import Protocol
    from .peers import Peers
    from .pulse import Pulse
    from .shared import Regions
    from .trial import warm_up

    listeners = [socket.socket(fileno=number) for number in order.listeners]
    handoff, back = (
        socket.socket(fileno=number) if number is not None else None for number in (order.handoff, order.back)
    )
    regions = Regions(order.regions) if order.regions is not None else None
    began = time.perf_counter()
    pulse = Pulse()
    model = pulse.watched(open_model(order.spec))
    warm_up(order.spec, model)
    load_s = time.perf_counter() - began
    counters = Counters()
    core = Core(order.spec, model, counters, Queue())
    welcome = Peers(order.allow_uids, order.allow_gids).welcome
    door = Door(listeners, Protocol(core, regions).answer, core, handoff=handoff, back=back, welcome=welcome)
    end: float | None = None
    idle_until: float | None = None

    def stop(_signal: int, _frame: FrameType | None) -> None:
        control_ours.send(encode(Do(what="stop", drain_s=5.0)))

    # A signal becomes a message, so that there is one way to end.
    control_ours, signals = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.signal(signal.SIGTERM, stop)
    # Ctrl-C in a terminal goes to the agent's whole group; the agent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _say(control, Ready(limits=held, load_s=load_s))
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(signals, selectors.EVENT_READ)
        while True:
            door.tidy()
            if end is not None and (door.connections == 0 or time.monotonic() >= end):
                break
            if idle_until is not None and time.monotonic() >= idle_until:
                door.close_idle()
            # Nothing to look after: sleep until somebody asks. A device at rest should rest.
            for key, _ in selector.select(TICK_S if end is not None or door.untidy else None):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock in door.listeners:
                    door.take(sock)
                    continue
                packet = sock.recv(MAX_PACKET_BYTES)
                if not packet:  # the agent closed its end: nobody will ever stop this worker but itself
                    door.shut(selector)
                    selector.unregister(sock)
                    end = end or time.monotonic() + 5.0
                    continue
                do = decode_do(packet)
                match do.what:
                    case "accept":
                        door.open(selector)
                        _say(control, Done(what="accept"))
                    case "pause":
                        door.shut(selector)
                        _say(control, Done(what="pause"))
                    case "served":
                        counted = pulse.beside(counters.take())
                        if in_unit:
                            counted = msgspec.structs.replace(counted, memory_bytes=pss_bytes(Path("/proc/self")))
                        _say(control, counted)
                    case "stop":
                        door.shut(selector)
                        end = time.monotonic() + do.drain_s
                        idle_until = time.monotonic() + IDLE_WHEN_ENDING_S if do.ending else None
    door.close_idle()
    _last(control, counters.take())
    return 0


def _last(control: socket.socket, message: Said) -> None:
    try:
        control.setblocking(False)
        _say(control, message)
    except OSError:
        pass


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads that still talk to clients are cut here: the time to drain is over. A runtime's own exit handlers would
    # run while they compute.
    assert threading.main_thread() is threading.current_thread()
    os._exit(code)
