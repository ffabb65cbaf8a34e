"""The errors of the agent.

AgentError
├── BadConfig      the configuration file says something that the agent cannot do
├── AlreadyRuns    another agent holds this state folder
├── BadAssembly    files that were put together are not what the release says
├── NoSpace        the disk is too full for what is to be done
└── BadFacts       a stored document that cannot be read
"""


class AgentError(Exception):
    """Something that the agent met and can say in words."""


class BadConfig(AgentError):
    """The configuration file says something that the agent cannot do. The message names the key."""


class AlreadyRuns(AgentError):
    """Another agent holds this state folder."""


class BadAssembly(AgentError):
    """Files that were put together are not what the release says."""


class NoSpace(AgentError):
    """The disk is too full for what is to be done."""

    def __init__(self, what: str, need_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"{what} needs {need_bytes / 1e6:.1f} MB with the reserve and {free_bytes / 1e6:.1f} MB are free: "
            "free some space; what runs keeps running"
        )
        self.need_bytes, self.free_bytes = need_bytes, free_bytes


class BadFacts(AgentError):
    """A stored document that cannot be read."""
