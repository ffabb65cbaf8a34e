"""A process whose every clock of the world is shifted, OpenSSL's too: what time.time() alone cannot show of TLS. Needs cc."""

import shutil
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) { const char *said = getenv("EDGEFLEET_TEST_SHIFT_S"); return said ? atol(said) : 0; }
int clock_gettime(clockid_t which, struct timespec *at) {
    int answer = syscall(SYS_clock_gettime, which, at);
    if (!answer && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
    return answer;
}
time_t time(time_t *into) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (into) *into = at.tv_sec;
    return at.tv_sec;
}
int gettimeofday(struct timeval *restrict into, void *restrict zone) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    into->tv_sec = at.tv_sec;
    into->tv_usec = at.tv_nsec / 1000;
    return 0;
}
"""


def shifted(folder: Path, seconds: float) -> dict[str, str]:
    """Return the environment that shifts a process' clocks by `seconds`, or an empty one where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True, timeout=60)
    return {"LD_PRELOAD": str(library), "EDGEFLEET_TEST_SHIFT_S": str(int(seconds))}
