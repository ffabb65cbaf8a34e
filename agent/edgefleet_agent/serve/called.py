"""`python -m edgefleet_agent.serve.called`: what `edgefleet-worker@.service` runs: a worker that an agent called, and no child of it.

systemd hands over the line to the agent (sd_listen_fds(3)), by which the order and its descriptors come. An empty order
asks which limits hold in such a unit.
"""

import os
import socket
import sys

from .units import HELLO

LINE = 3
MOST = 64


def ordered(line: socket.socket) -> tuple[bytes, list[int]]:
    """Return the order and the descriptors that it names, by their numbers here; standard error is the agent's from now on."""
    _, numbers, _, _ = socket.recv_fds(line, len(HELLO), MOST)
    if len(numbers) < 2:
        sys.exit("no order came: the agent is gone")
    given, errors, *inherited = numbers
    with os.fdopen(given, "rb") as file:
        data = file.read()
    os.dup2(errors, 2)
    os.close(errors)
    return data, inherited


def main() -> int:
    """Do what is ordered; return the exit code of a worker."""
    # Kept from what a model runs: the shell alone says the end on it.
    with socket.socket(fileno=LINE) as line:
        data, inherited = ordered(line)
        line.send(HELLO)
    if not data:
        from .limits import try_all

        print(try_all(in_unit=True), file=sys.stderr)
        return 0
    from .messages import renumbered
    from .worker import work

    return work(renumbered(data, inherited), in_unit=True)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
