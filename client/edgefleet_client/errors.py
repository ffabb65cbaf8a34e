"""Errors of the client.

ClientError
├── ModelNotServed   nothing answers for this model on this device
├── NoAnswer         it took the request and said nothing in time
│   └── TooLate      not within the deadline that came with the request
├── ServerBusy       it answers, and has no room now: try again
├── NoLease          no lease can be had (lease.py)
├── NotAllowed       this process may not ask the models of this device
├── BadInput         what was handed over does not fit the model
└── ModelFailed      the model, or what came back, is broken
"""


class ClientError(Exception):
    """A prediction that could not be had. The message says why."""


class ModelNotServed(ClientError):
    """Nothing answers for this model on this device."""


class NoAnswer(ClientError):
    """It took the request and said nothing in time."""


class TooLate(NoAnswer):
    """No answer within the deadline that came with the request."""


class NotAllowed(ClientError):
    """This process may not ask the models of this device."""


class ServerBusy(ClientError):
    """The device has no room for this request now."""


class BadInput(ClientError):
    """What was handed over does not fit the model."""


class ModelFailed(ClientError):
    """The model failed, or what came back is no answer."""
