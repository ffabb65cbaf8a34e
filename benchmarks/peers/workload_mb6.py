"""The workload `mb6`, as a file that compression loads."""

from benchmarks.peers import nets
from edgefleet_compress.workload import Workload


def workload() -> Workload:
    """Return it."""
    return nets.workload("mb6")
