"""Envelopes: opened only for a known key, the expected type and the very bytes that were signed."""

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.dsse import MAX_ENVELOPE_BYTES, open_envelope, pae, seal
from edgefleet_protocol.errors import BadSignature, TooLarge

TYPE = "application/vnd.edgefleet.test+json"


def signer(key: bytes):
    return lambda message: hmac.digest(key, message, hashlib.sha256)


def verifier(key: bytes):
    return lambda signature, message: hmac.compare_digest(signature, hmac.digest(key, message, hashlib.sha256))


KEYS = {"one": verifier(b"1"), "two": verifier(b"2")}


def test_the_encoding_is_that_of_the_specification():
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == "DSSEv1 2 é 0 ".encode()


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.binary(max_size=2000), st.sampled_from(("one", "two")))
def test_what_was_sealed_opens_for_a_known_key(kind, payload, key):
    envelope = seal(kind, payload, key, signer({"one": b"1", "two": b"2"}[key]))
    assert open_envelope(envelope, kind, KEYS) == payload


def test_the_envelope_has_the_names_of_the_specification():
    envelope = json.loads(seal(TYPE, b"{}", "one", signer(b"1")))
    assert set(envelope) == {"payloadType", "payload", "signatures"}
    assert base64.b64decode(envelope["payload"]) == b"{}"
    assert set(envelope["signatures"][0]) == {"keyid", "sig"}


def changed(**changes: object) -> bytes:
    envelope = json.loads(seal(TYPE, b'{"a":1}', "one", signer(b"1")))
    return json.dumps(envelope | changes).encode()


def signature(keyid: str, sig: bytes) -> dict[str, str]:
    return {"keyid": keyid, "sig": base64.b64encode(sig).decode()}


RIGHT = signer(b"1")(pae(TYPE, b'{"a":1}'))

REFUSED = {
    "other payload": (changed(payload=base64.b64encode(b'{"a":2}').decode()), "signed by one"),
    "other type": (changed(payloadType="application/json"), "holds 'application/json'"),
    "nobody": (changed(signatures=[]), "signed by nobody; known keys are one, two"),
    "unknown key": (changed(signatures=[signature("three", RIGHT)]), "signed by three"),
    "right signature under another key": (changed(signatures=[signature("two", RIGHT)]), "signed by two"),
    "false signature": (changed(signatures=[signature("one", b"false")]), "signed by one"),
    "the right one behind too many": (
        changed(signatures=[signature("one", b"false")] * 16 + [signature("one", RIGHT)]),
        "signed by one",
    ),
    "payload not base64": (changed(payload="{}"), "not an envelope"),
    "payload in letters of another alphabet": (changed(payload="éé=="), "not an envelope"),
    "signature not base64": (changed(signatures=[{"keyid": "one", "sig": "*"}]), "not an envelope"),
    "payload not text": (changed(payload=7), "not an envelope"),
    "no key id": (changed(signatures=[{"sig": "AA=="}]), "not an envelope"),
    "not JSON": (b"{", "not an envelope"),
    "nothing": (b"", "not an envelope"),
    "a list": (b"[]", "not an envelope"),
    "nested without end": (b'{"payloadType":' + b"[" * 90_000, "not an envelope"),
    "not UTF-8": (b'{"payloadType":"\xff","payload":"","signatures":[]}', "not an envelope"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_envelope_that_is_not_signed_as_it_must_be_is_refused(case):
    data, words = REFUSED[case]
    with pytest.raises(BadSignature) as refused:
        open_envelope(data, TYPE, KEYS)
    assert words in str(refused.value)


def test_without_keys_nothing_is_believed():
    with pytest.raises(BadSignature, match="known keys are none"):
        open_envelope(changed(), TYPE, {})


def test_one_known_signature_among_others_is_enough():
    data = changed(signatures=[signature("three", b"x"), signature("one", b"false"), signature("one", RIGHT)])
    assert open_envelope(data, TYPE, KEYS) == b'{"a":1}'


def test_fields_of_later_versions_are_ignored():
    assert open_envelope(changed(more=[1, 2]), TYPE, KEYS) == b'{"a":1}'


def test_an_envelope_that_is_too_large_is_not_read():
    with pytest.raises(TooLarge, match="limit is 96000"):
        open_envelope(b" " * (MAX_ENVELOPE_BYTES + 1), TYPE, KEYS)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_right(data):
    with pytest.raises(BadSignature):
        open_envelope(data, TYPE, KEYS)


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_an_envelope_with_a_bit_changed_is_refused_or_says_the_same(at, bit):
    data = bytearray(changed())
    data[at % len(data)] ^= 1 << bit
    try:
        payload = open_envelope(bytes(data), TYPE, KEYS)
    except BadSignature:
        return
    assert payload == b'{"a":1}'
