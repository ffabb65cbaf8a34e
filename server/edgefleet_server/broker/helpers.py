"""Which ingest processes have a certificate: each is named in the access list, and nobody by the beginning of a name."""

import re
from pathlib import Path

_FILE = re.compile(r"^hub-([1-9][0-9]?)\.pem\Z")


def helpers_in(identity: Path) -> tuple[str, ...]:
    """Return the names in the certificates of further ingest processes that lie in the folder, by number."""
    found = (_FILE.match(path.name) for path in identity.glob("hub-*.pem"))
    return tuple(f"hub-{number}" for number in sorted(int(match[1]) for match in found if match))
