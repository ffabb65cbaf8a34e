"""A plan over a database that knows very many devices: they are written there as if each had said its state."""

import time
from collections.abc import Callable

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState
from edgefleet_server.store import devices
from edgefleet_server.store.database import Database

from .boards import board_of, hardware
from .orders import name_of
from .world import REGION, World


def plan_seconds(count: int, say: Callable[[str], None]) -> tuple[float, float]:
    """Return how long the server takes to plan a rollout over `count` devices, at the second time of asking, and its processor time meanwhile."""
    with World() as world:
        database = Database(world.folder / "server" / "server.sqlite3")
        try:
            with database.write() as connection:
                now = time.time()
                for number in range(count):
                    state = DeviceState(
                        device=name_of(number), session=1_000_000, boot=f"boot-{number}", at_s=now, agent_version="0.1.0",
                        region=REGION, hardware=hardware(board_of(number).sample), boots=1,
                    )  # fmt: skip
                    devices.put_state(connection, state, encode(state), now, live=True)
        finally:
            database.close()
        say(f"{count} devices are in the database")
        release = world.release()
        world.start_broker()
        world.start_server()
        seconds = cpu_s = 0.0
        for _ in range(2):
            began, before_s = time.monotonic(), world.server.cpu_s()
            answer = world.http.post("/v1/rollouts/plan", json={"release": release, "regions": [REGION]})
            seconds, cpu_s = time.monotonic() - began, world.server.cpu_s() - before_s
            answer.raise_for_status()
            say(f"planned in {seconds:.1f} s, with {cpu_s:.1f} s of the server's processor time")
    return seconds, cpu_s
