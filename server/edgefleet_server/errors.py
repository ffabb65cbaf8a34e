"""The errors of the server.

ServerError
├── BadConfig         server.toml says something that cannot be, or must not be
├── NotFound          a device, region, release or rollout that the server does not know
├── Refused           a rule forbids it: the message names the rule and the way out
│   ├── NotAllowed    the actor may not do this in that region
│   └── OpenBroker    the broker lets strangers in, and must not carry a fleet
├── NotHere           the one server alone can do it, and this process is another
├── NoToken           nobody knows who asks
├── BadRequest        what was asked makes no sense as it was written
└── NoBroker          a broker could not be started or reached
"""


class ServerError(Exception):
    """Something that the server was asked to do could not be done. The message says what, and what to do next."""


class BadConfig(ServerError):
    """The configuration says something that cannot be, or must not be."""


class NotFound(ServerError):
    """A device, region, release or rollout that the server does not know."""


class BadRequest(ServerError):
    """What was asked makes no sense as it was written."""


class Refused(ServerError):
    """A rule forbids it."""


class NotAllowed(Refused):
    """The actor may not do this in that region."""


class OpenBroker(Refused):
    """The broker lets strangers in, and must not carry a fleet."""


class NoToken(ServerError):
    """Nobody knows who asks: there is no token, or it is not good any more."""


class NotHere(ServerError):
    """The one server alone can do it. Nothing was done. `address`: where that one is asked, empty while nobody knows."""

    def __init__(self, what: str, address: str) -> None:
        where = f" at {address}" if address else ""
        super().__init__(
            f"this process answers beside the server and has neither its keys nor its broker, and here {what}: nothing was done. "
            f"Ask the server itself{where}"
        )
        self.address = address


class NoBroker(ServerError):
    """A broker could not be started or reached."""
