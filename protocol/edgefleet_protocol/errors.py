"""The errors of the protocol.

ProtocolError
├── BadName       a name or topic that the rules refuse
├── BadDocument   bytes that are not the document they should be
│   └── TooNew    a document of a later format, or for a later agent
├── TooLarge      more bytes or entries than the limit allows
├── BadChunk      a chunk that is not what its name says
├── BadModel      an ONNX file that no runtime should be given
└── BadSignature  an envelope that is not signed as it must be
"""


class ProtocolError(Exception):
    """Something on the wire breaks the agreement. The message says what, with the values that disagree."""


class BadName(ProtocolError):
    """A name that the rules refuse."""


class BadDocument(ProtocolError):
    """Bytes that are not the document they should be."""


class TooNew(BadDocument):
    """A document of a format, or for an agent, later than this one."""


class TooLarge(ProtocolError):
    """More bytes or entries than the limit allows."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} is {size} and the limit is {limit}")
        self.what, self.size, self.limit = what, size, limit


class BadChunk(ProtocolError):
    """A chunk that is not what its name says."""


class BadModel(ProtocolError):
    """An ONNX file that no runtime should be given."""


class BadSignature(ProtocolError):
    """An envelope that is not signed as it must be."""
