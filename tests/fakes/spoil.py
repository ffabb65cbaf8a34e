"""What may be wrong with a release although it is signed in good order."""

import random
import struct
from collections.abc import Callable

from msgspec.structs import replace

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.manifest import Release

Files = dict[str, bytes]


def wrong_golden(*variants: str) -> Callable[[Release, Files], tuple[Release, Files]]:
    """Return what puts wrong golden answers into a release, for the named variants."""

    def spoil(release: Release, files: Files) -> tuple[Release, Files]:
        changed = dict(files)
        for name in variants:
            variant = release.variant(name)
            assert variant is not None
            file = variant.golden.outputs[0].file
            values = struct.unpack(f"<{len(files[file]) // 4}f", files[file])
            dice = random.Random(name)
            changed[file] = struct.pack(f"<{len(values)}f", *(value + dice.choice((3.0, -3.0)) for value in values))
        entries = tuple(replace(entry, sha256=sha256_hex(changed[entry.name])) for entry in release.files)
        return replace(release, files=entries), changed

    return spoil
