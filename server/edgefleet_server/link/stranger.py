"""Trying the broker as somebody who must not get far: without a certificate, or with one of nobody in particular."""

import contextlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from .tls import Tls

TIMEOUT_S = 10.0
TAKEN = 0x80
"""Reason codes of MQTT 5 from here on are refusals."""


@dataclass(frozen=True)
class Tried:
    """What became of it. `reached`: a TLS server whose certificate the authority signed has answered, be it by ending the connection."""

    reached: bool
    let_in: bool
    wrote: tuple[str, ...] = ()
    """Topics on which the broker took a message."""
    why: str = ""


def try_as(host: str, port: int, tls: Tls, writes: Sequence[str], timeout_s: float = TIMEOUT_S) -> Tried:
    """Return how far a client with `tls` gets; what it writes is empty and not retained.

    Without a certificate it speaks MQTT 3.1.1, which every broker does; with one MQTT 5, whose acknowledgements tell.
    """
    protocol = MQTTProtocolVersion.MQTTv311 if tls.certificate is None else MQTTProtocolVersion.MQTTv5
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol, reconnect_on_failure=False)
    client.connect_timeout = timeout_s
    said: dict[str, Any] = {}
    answers: dict[int, int] = {}
    client.on_connect = lambda c, u, flags, reason, p: said.__setitem__("in", not reason.is_failure)
    client.on_publish = lambda c, u, mid, reason, p: answers.__setitem__(mid, reason.value)
    deadline = time.monotonic() + timeout_s
    try:
        tls.apply(client)
        client.connect(host, port, keepalive=60)
    except OSError as error:  # ssl.SSLError is one: also a handshake that the broker ended for want of a certificate
        return Tried(reached=_ended_by_broker(error), let_in=False, why=str(error))
    try:
        while "in" not in said and time.monotonic() < deadline:
            if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                break
        if "in" not in said and time.monotonic() >= deadline:
            return Tried(reached=False, let_in=False, why=f"{host}:{port} did not answer in {timeout_s:g} s")
        if not said.get("in"):
            return Tried(reached=True, let_in=False, why="the broker ended the connection")
        wrote: list[str] = []
        for topic in writes:
            mid = client.publish(topic, b"", qos=1).mid
            while mid not in answers and time.monotonic() < deadline:
                if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
                    return Tried(reached=True, let_in=True, wrote=tuple(wrote), why=f"it was cut off for {topic}")
            if answers.get(mid, TAKEN) < TAKEN:
                wrote.append(topic)
        return Tried(reached=True, let_in=True, wrote=tuple(wrote))
    finally:
        with contextlib.suppress(OSError):
            client.disconnect()


def _ended_by_broker(error: OSError) -> bool:
    """With TLS 1.2 the broker refuses within the handshake, by an alert or by hanging up; with 1.3 the refusal comes after it."""
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, ssl.SSLCertVerificationError)
    return isinstance(error, (ConnectionResetError, BrokenPipeError))
