"""`python -m edgefleet_agent run|status|explain`: the agent where the command `edgefleet` is not installed."""

import sys

from .commands import main

sys.exit(main(sys.argv[1:]))
