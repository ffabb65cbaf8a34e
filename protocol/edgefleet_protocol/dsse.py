"""DSSE envelopes, on bytes alone: the caller brings the functions that sign and verify.

Source: https://github.com/secure-systems-lab/dsse, protocol v1.0.2.
"""

import base64
import binascii
from collections.abc import Callable, Mapping

import msgspec

from .errors import BadSignature, TooLarge

MAX_ENVELOPE_BYTES = 96_000

Verify = Callable[[bytes, bytes], bool]
"""(signature, message) -> whether the signature is right."""


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature over the pre-authentication encoding, base64."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """`{payloadType, payload, signatures}`; the payload is base64."""

    payload_type: str
    payload: str
    signatures: tuple[EnvelopeSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: type and payload, each with its length before it."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload_type: str, payload: bytes, keyid: str, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the JSON bytes of an envelope with one signature."""
    signature = EnvelopeSignature(keyid=keyid, sig=base64.b64encode(sign(pae(payload_type, payload))).decode())
    envelope = Envelope(payload_type=payload_type, payload=base64.b64encode(payload).decode(), signatures=(signature,))
    return msgspec.json.encode(envelope)


def open_envelope(data: bytes, payload_type: str, keys: Mapping[str, Verify]) -> bytes:
    """Return the payload of an envelope that at least one of `keys` signed.

    Raises BadSignature, saying what is wrong: the type, the encoding, or that no known key signed it.
    """
    payload, signatures = _parse(data, payload_type)
    message = pae(payload_type, payload)
    for keyid, signature in signatures:
        verify = keys.get(keyid)
        if verify is not None and verify(signature, message):
            return payload
    signers = ", ".join(sorted({keyid[:8] for keyid, _ in signatures})) or "nobody"
    raise BadSignature(f"signed by {signers}; known keys are {', '.join(sorted(key[:8] for key in keys)) or 'none'}")


def open_own(data: bytes, payload_type: str, key_in: Callable[[bytes], Verify]) -> bytes:
    """Return the payload of an envelope that brings along the key that signed it.

    key_in: finds the key in a payload that nobody has verified yet, and must itself refuse one that is not to be believed.
    Raises BadSignature, and what `key_in` raises.
    """
    payload, signatures = _parse(data, payload_type)
    verify, message = key_in(payload), pae(payload_type, payload)
    if any(verify(signature, message) for _, signature in signatures):
        return payload
    raise BadSignature("the key that the envelope brings along did not sign it")


def is_envelope(data: bytes) -> bool:
    """Return whether `data` has the form of an envelope, whoever signed it."""
    try:
        msgspec.json.decode(data, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _parse(data: bytes, payload_type: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return payload and signatures, none of them verified; raise BadSignature for another form or type."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise TooLarge("an envelope in bytes", len(data), MAX_ENVELOPE_BYTES)
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [(row.keyid, base64.b64decode(row.sig, validate=True)) for row in envelope.signatures[:16]]
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise BadSignature(f"not an envelope: {error}") from error
    if envelope.payload_type != payload_type:
        raise BadSignature(f"the envelope holds {envelope.payload_type!r} and {payload_type!r} was expected")
    return payload, signatures
