"""Who may give this device orders: checking envelopes against the keys that the last look verified."""

from collections.abc import Iterable

from edgefleet_protocol.dsse import Verify
from edgefleet_protocol.trust import PublicKey


def verifiers(keys: Iterable[PublicKey]) -> dict[str, Verify]:
    """Return a function by key id for every Ed25519 key; a key of another kind is left out, and so verifies nothing."""
    return {key.keyid: _ed25519(key.public) for key in keys if key.keytype == "ed25519"}


def _ed25519(public: str) -> Verify:
    def verify(signature: bytes, message: bytes) -> bool:
        # Imported here: it costs 9 MB, and most starts of an agent verify no envelope.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify
