"""The revocation list: how long it lasts, and where the broker reads it."""

from datetime import timezone
from pathlib import Path

from cryptography import x509

from ..errors import ServerError
from .place import replace_file

ALARM_DAYS = 30.0
"""A list past its time shuts every device out, so it is signed for a year and somebody must wake long before."""


class NoList(ServerError):
    """There is no revocation list that can be read."""


def until_s(path: Path) -> float:
    """Return when the list ends, in seconds since 1970. Raises NoList."""
    try:
        found = x509.load_pem_x509_crl(path.read_bytes())
    except OSError as error:
        raise NoList(f"the revocation list {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise NoList(f"{path} is no revocation list: {error}") from error
    ends = found.next_update_utc
    if ends is None:
        raise NoList(f"{path} does not say how long it holds")
    return ends.astimezone(timezone.utc).timestamp()


def put_in_place(signed: Path, read_by_broker: Path) -> bool:
    """Copy the signed list to where the broker reads it; return whether it differed. Raises NoList."""
    until_s(signed)  # never put there what would shut everybody out
    if signed == read_by_broker:
        return True
    data = signed.read_bytes()
    try:
        if read_by_broker.read_bytes() == data:
            return False
    except OSError:
        pass
    try:
        replace_file(read_by_broker, data, 0o644)
    except OSError as error:
        raise NoList(f"the revocation list could not be put at {read_by_broker}: {error.strerror}") from error
    return True
