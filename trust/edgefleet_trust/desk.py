"""Where a holder's keys lie: `KEYS/offline`, with the root that this holder believes."""

from pathlib import Path

from securesystemslib.signer import Key

from .chain import same_document
from .errors import BadProposal, NotThere
from .files import Disk, make_folder
from .keyfile import said_key

ANCHOR = "root-1.json"
"""The holder's own copy of root 1, beside the offline keys: what everything else is judged from."""


def offline_folder(keys: Path) -> Path:
    """Return the folder of the offline keys below `keys`."""
    return keys / "offline"


def make_desk(keys: Path) -> Path:
    """Make `keys/offline` where it is not there; return it."""
    for folder in (keys, offline_folder(keys)):
        if not folder.is_dir():
            make_folder(folder, 0o700)
    return offline_folder(keys)


def read_anchor(keys: Path) -> bytes | None:
    """Return this holder's root 1, None before the ceremony; raise NotThere where no key lies."""
    folder = offline_folder(keys)
    if not folder.is_dir():
        raise NotThere(f"{folder} cannot be read (it is not there): name the KEYS folder")
    try:
        return (folder / ANCHOR).read_bytes()
    except FileNotFoundError:
        return None


def need_anchor(keys: Path) -> bytes:
    """Return this holder's root 1; raise NotThere for a holder who has signed no ceremony yet."""
    anchor = read_anchor(keys)
    if anchor is None:
        raise NotThere(
            f"{offline_folder(keys) / ANCHOR} cannot be read: sign the ceremony first, or, as a new holder, copy it from "
            "another holder and compare the fingerprint of `edgefleet trust key show` by voice"
        )
    return anchor


def keep_anchor(keys: Path, root: bytes, disk: Disk) -> None:
    """Keep `root` as this holder's root 1; raise BadProposal when another one is there."""
    before = read_anchor(keys)
    if before is not None:
        if not same_document(before, root):
            raise BadProposal(
                f"{offline_folder(keys) / ANCHOR} is the root of another repository: use another KEYS folder"
            )
        return
    disk.put(offline_folder(keys) / ANCHOR, root)


def own_keys(keys: Path) -> dict[str, tuple[Path, Key]]:
    """Return this holder's key files by the id that each says it has; nothing is opened."""
    rows = {}
    for path in sorted(offline_folder(keys).glob("*.json")):
        if path.name != ANCHOR:
            key = said_key(path)
            rows[key.keyid] = (path, key)
    return rows
