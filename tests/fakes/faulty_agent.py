"""The real agent, whose workers are those of tests/fakes/faulty_worker.py. Started as `python -m tests.fakes.faulty_agent`."""

import sys
from functools import partial
from pathlib import Path

from edgefleet_agent.commands import main
from edgefleet_agent.serve import launcher

WORKER = Path(__file__).with_name("faulty_worker.py")

if __name__ == "__main__":
    launcher.ProcessLauncher = partial(launcher.ProcessLauncher, command=(sys.executable, str(WORKER)))  # type: ignore[misc,assignment]
    sys.exit(main(sys.argv[1:]))
