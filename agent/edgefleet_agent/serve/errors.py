"""Errors of serving.

ServeError
├── CannotBind    a socket that cannot be had
├── CannotOpen    a model that cannot be loaded here
├── NoRuntime     the runtime itself cannot be imported: no model is at fault
├── NoUnit        systemd gives no unit to a worker
└── Refused       a request that is answered with an error, with its HTTP status
"""


class ServeError(Exception):
    """Something about serving went wrong. The message says what, and what to do."""


class CannotBind(ServeError):
    """A socket that cannot be had."""


class CannotOpen(ServeError):
    """A model that cannot be loaded here."""


class NoRuntime(ServeError):
    """The runtime itself cannot be imported: no model is at fault."""


class NoUnit(ServeError):
    """systemd gives no unit to a worker, which is a child of the agent then."""


class Refused(ServeError):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
