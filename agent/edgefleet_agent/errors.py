"""The errors of the agent, and what a refused write means.

AgentError
├── BadConfig      the configuration file says something that the agent cannot do
├── BadOption      an option of a command says something that cannot be
├── BadIdentity    the device's key or certificate cannot be used as it lies there
├── AlreadyRuns    another agent holds this state folder
└── BadAssembly    files that were put together are not what the release says
"""

import errno

from .conditions import NO_SPACE


class AgentError(Exception):
    """Something that the agent met and can say in words."""


class BadConfig(AgentError):
    """The configuration file says something that the agent cannot do. The message names the key."""


class BadOption(AgentError):
    """An option of a command, or a file that it names, says something that cannot be."""


class BadIdentity(AgentError):
    """The device's key or certificate cannot be used as it lies there."""


class AlreadyRuns(AgentError):
    """Another agent holds this state folder."""


class BadAssembly(AgentError):
    """Files that were put together are not what the release says."""


def disk_trouble(error: OSError) -> tuple[str, str]:
    """Return the kind of event that tells of a refused write, and what happened in words."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    kind, words = (NO_SPACE, "no space") if full else ("disk-failed", "the disk failed")
    return kind, f"{words}: {error.strerror or error}"
