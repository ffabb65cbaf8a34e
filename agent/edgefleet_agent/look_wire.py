"""The request and the answer between the agent and its look child: one bounded MessagePack document each way."""

import msgspec

from .seams import Looked, LookRequest, Missing, Refused

MAX_BYTES = 64 * 2**20
"""64 manifests of the largest size, and as much again that no honest repository sends."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    looked: Looked | None = None
    missing: Missing | None = None
    refused: Refused | None = None


_request = msgspec.msgpack.Decoder(LookRequest)
_answer = msgspec.msgpack.Decoder(_Answer)


def encode_request(request: LookRequest) -> bytes:
    """Return `request` as bytes; raise ValueError beyond the limit."""
    return _bounded(msgspec.msgpack.encode(request))


def decode_request(data: bytes) -> LookRequest:
    """Return the request in `data`; raise ValueError for anything else."""
    return _request.decode(_bounded(data))


def encode_answer(answer: Looked | Missing | Refused) -> bytes:
    """Return `answer` as bytes; raise ValueError beyond the limit."""
    if isinstance(answer, Looked):
        return _bounded(msgspec.msgpack.encode(_Answer(looked=answer)))
    if isinstance(answer, Missing):
        return _bounded(msgspec.msgpack.encode(_Answer(missing=answer)))
    return _bounded(msgspec.msgpack.encode(_Answer(refused=answer)))


def decode_answer(data: bytes) -> Looked | Missing | Refused:
    """Return the answer in `data`; raise ValueError for anything else."""
    answer = _answer.decode(_bounded(data))
    found = answer.looked or answer.missing or answer.refused
    if found is None:
        raise ValueError("an answer that says nothing")
    return found


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes and the limit is {MAX_BYTES}")
    return data
