"""Enrolling and renewing, step by step; each step is durable and is not done twice, so a cut at any point costs nothing.

The key is made here and never leaves. A certificate whose answer was lost is asked for again with the same key, and the
server gives the same one.
"""

import base64
import binascii
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from . import enrol_seed, identity_crypto
from .enrol_http import Est, TurnedAway, Unreachable
from .enrol_name import board_serial, device_name
from .enrol_seed import Seed
from .errors import AgentError, BadIdentity
from .identity import CA, CERTIFICATE, ENROLMENT, FOLDER, HTTPS_CA, KEY, NEXT, ROOT, Enrolment, Identity, Pair
from .identity_files import MAKING, NEXT_MAKING, SECRET, folder, put, remove, rename, settle, sync, take_next

WISH = "wish.json"
RENEW_LEFT = timedelta(days=30)
"""A third of our 90 days. They cannot be read off a certificate whose notBefore is 1970."""


class _Wish(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    device: str
    board: str | None


@dataclass(frozen=True)
class Board:
    """Where the device's own files lie, and what it is instead of what `uname -m` says."""

    root: Path = Path("/")
    machine: str | None = None


def enrol(state: Path, seed: Seed, board: Board) -> Enrolment:
    """Do what is left to do until `STATE/identity` is there; return what the device was told.

    Raises NotYet while somebody has to say yes, Unreachable when it may be tried again, TurnedAway when the server
    refuses, BadIdentity when it gives something that is not what was asked for.
    """
    making = folder(state / MAKING)
    wish = _wish(making, seed, board)
    key = _once(making / KEY, identity_crypto.new_key)
    bundle = enrol_seed.bundle_of(state) if seed.bundle else None
    token = None if bundle else enrol_seed.read_token(seed.token)
    if bundle is not None:
        https_ca = _once(making / HTTPS_CA, lambda: (bundle / CA).read_bytes())
        ca = _once(making / CA, lambda: b"".join(identity_crypto.certificates(Est(seed.url, https_ca).authorities())))
    else:
        assert token is not None
        mark = token.fingerprint
        ca = _once(
            making / CA,
            lambda: identity_crypto.pinned(identity_crypto.certificates(Est(seed.url).authorities()), mark),
        )
        https_ca = ca
    if not (making / CERTIFICATE).is_file():
        csr = identity_crypto.request(key, wish.device, wish.board)
        given = Est(seed.url, https_ca).enrol(csr, token.password if token else seed.token, seed.region)
        put(making / CERTIFICATE, _checked(given, key, wish.device, ca))
    told = _told(making, seed, wish, https_ca, bundle)
    sync(making)
    if (state / FOLDER).exists():
        raise BadIdentity(f"{state / FOLDER} is there already: this device is enrolled")
    (making / WISH).unlink(missing_ok=True)
    rename(making, state / FOLDER)
    enrol_seed.forget(state)
    return told


def renew(state: Path, now: datetime) -> timedelta:
    """Fetch the next pair when it is time; return how long there is nothing to do."""
    settle(state)
    identity = Identity.load(state)
    if identity is None:
        raise BadIdentity(f"there is no identity in {state}")
    if (waiting := identity.next_pair()) is not None:
        if (left := _left(waiting, now)) > timedelta(0):
            return left  # the agent connects with it and takes it over
        take_next(
            identity.folder
        )  # it was never used and is old: it is still the one that the server knows as the newest
    if (left := _left(identity.pair, now)) > timedelta(0):
        return left
    making = folder(identity.folder / NEXT_MAKING)
    key = _once(making / KEY, identity_crypto.new_key)
    csr = identity_crypto.request(key, identity.device, identity.enrolment.board)
    est = Est(identity.enrolment.url, identity.https_ca_path.read_bytes(), identity.pair)
    certificate = _checked(est.renew(csr), key, identity.device, identity.ca_path.read_bytes())
    put(making / CERTIFICATE, certificate)
    remove(identity.folder / NEXT)
    rename(making, identity.folder / NEXT)
    with contextlib.suppress(Unreachable, TurnedAway):
        # Our server now knows that the new one arrived: who renews the old one from here on has a copy of it.
        Est(est.url, est.ca, identity.next_pair()).settings()
    return _left(Pair.within(identity.folder / NEXT), now)


def _left(pair: Pair, now: datetime) -> timedelta:
    begin, end = identity_crypto.life(pair.certificate.read_bytes())
    return end - min((end - begin) / 3, RENEW_LEFT) - now


def _wish(making: Path, seed: Seed, board: Board) -> _Wish:
    """What is asked for. Kept, since a name of random digits must be the same after a cut."""
    path = making / WISH
    if path.is_file():
        try:
            old = msgspec.json.decode(path.read_bytes(), type=_Wish)
            if old.url == seed.url and seed.device in (None, old.device):
                return old
        except msgspec.MsgspecError:
            pass
        for one in making.iterdir():  # somebody changed their mind: another name or server is another enrolment
            remove(one)
    serial = board_serial(board.root)
    device = seed.device or device_name(board.root, board.machine, serial)
    try:
        check_label("device", device)
    except BadName as error:
        raise AgentError(str(error)) from error
    wish = _Wish(url=seed.url, device=device, board=serial)
    put(path, msgspec.json.encode(wish), SECRET)
    return wish


def _told(making: Path, seed: Seed, wish: _Wish, https_ca: bytes, bundle: Path | None) -> Enrolment:
    """Write root and `enrolment.json` as the server, or the bundle, tells them."""
    if bundle is not None:
        try:
            said = msgspec.json.decode((bundle / ENROLMENT).read_bytes(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise BadIdentity(f"{bundle / ENROLMENT} is no JSON object: {error}") from error
        root = (bundle / ROOT).read_bytes()
    else:
        said = Est(seed.url, https_ca, Pair.within(making)).settings()
        try:
            root = base64.b64decode(str(said.get("root", "")), validate=True)
        except binascii.Error as error:
            raise Unreachable(f"the server's root cannot be read: {error}") from error
    if seed.root is not None and base64.b64encode(root).decode() != seed.root:
        raise BadIdentity("the server names another root of trust than the image was made with: this is another fleet")
    row = {**said, "device": wish.device, "url": seed.url, "board": wish.board, "at_s": time.time()}
    try:
        told = msgspec.convert(
            {key: value for key, value in row.items() if key in Enrolment.__struct_fields__}, Enrolment
        )
    except msgspec.ValidationError as error:
        raise BadIdentity(f"what the device is told cannot be used: {error}") from error
    if bundle is None and said.get("device") != wish.device:
        raise BadIdentity(f"the server takes this device for {said.get('device')!r}, and it is {wish.device}")
    put(making / ROOT, root)
    put(making / ENROLMENT, msgspec.json.encode(told))
    return told


def _checked(pkcs7: bytes, key: bytes, device: str, ca: bytes) -> bytes:
    found = identity_crypto.certificates(pkcs7)
    if not found:
        raise BadIdentity("the server's answer holds no certificate")
    authorities = [b"-----BEGIN" + part for part in ca.split(b"-----BEGIN")[1:]]
    last: BadIdentity | None = None
    for one in found:  # certs-only promises no order
        try:
            identity_crypto.check_certificate(
                one, key, device, [*authorities, *(other for other in found if other != one)]
            )
            return one + b"".join(other for other in found if other != one)
        except BadIdentity as error:
            last = last or error
    assert last is not None
    raise last


def _once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return what is in the file; make it, durable, when it is not there."""
    if not path.is_file():
        put(path, make(), SECRET if path.name == KEY else 0o640)
    return path.read_bytes()
