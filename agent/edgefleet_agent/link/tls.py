"""What a connection by TLS needs, read from the files that are named for it."""

import ssl
from pathlib import Path

from ..errors import AgentError


def client_context(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return the context of a client that trusts `ca` and shows its pair, where it has one.

    Raises AgentError that names the file, where the library says only that there is none, or nothing of PEM in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise AgentError(f"broker.ca is {ca}, and it is no authority's certificate in PEM: {_why(error)}") from error
    if certificate is None:
        return context
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise AgentError(
            f"broker.certificate is {certificate} and broker.key is {key}, and they are no pair in PEM: {_why(error)}"
        ) from error
    return context


def _why(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)
