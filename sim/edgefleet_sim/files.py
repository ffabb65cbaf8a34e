"""How many connections a process may have open."""

import resource


def open_all_files() -> None:
    """Let this process and its children open as many connections as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
