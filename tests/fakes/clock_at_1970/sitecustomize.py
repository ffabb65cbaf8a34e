"""On PYTHONPATH, this gives one process and its children a clock that started at 1970. Python runs it at start."""

import os
import sys
import time

# The first process of the family sets the zero; a look's child goes on from it.
_real = time.time
_zero = float(os.environ.setdefault("EDGEFLEET_TEST_CLOCK_ZERO", repr(_real())))


def _now() -> float:
    return _real() - _zero


time.time = _now
time.time_ns = lambda: int(_now() * 1e9)

if "edgefleet_agent.look_child" in sys.orig_argv:
    # python-tuf judges expiry by datetime.now, which does not ask time.time.
    import datetime
    from types import SimpleNamespace

    import tuf.ngclient._internal.trusted_metadata_set as judge

    class _Datetime:
        @staticmethod
        def now(tz: "datetime.tzinfo | None" = None) -> datetime.datetime:
            return datetime.datetime.fromtimestamp(_now(), tz)

    vars(judge)["datetime"] = SimpleNamespace(datetime=_Datetime, timezone=datetime.timezone)
