"""A child that ends with its parent, however that ends: a parent that was killed cannot tidy up, and an orphan keeps its port."""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the kernel sends this process a signal when its parent ends."""


def lifeline() -> Callable[[], None]:
    """Return what `subprocess.Popen` takes as `preexec_fn`. Made in the parent, since the child must not load a library."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)

    return tie
