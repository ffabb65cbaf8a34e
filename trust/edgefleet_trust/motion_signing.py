"""A holder signs a motion: judged from the holder's own root, said in words, signed with whichever of the keys count."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata

from .desk import keep_anchor, own_keys, read_anchor
from .errors import BadProposal, BreaksRule
from .files import Disk
from .holders import holder
from .judge import Judged, judge
from .keyfile import read_key
from .motion import Motion, read_motion, write_motion
from .motion_words import describe_motion, title
from .passphrase import Passphrase


@dataclass(frozen=True)
class ReviewedMotion:
    """A motion that was judged anew, and what this holder could add to it."""

    judged: Judged
    title: str
    words: tuple[str, ...]
    wanted: tuple[Key, ...]
    """This holder's keys whose signatures count and are not there yet."""
    signed: tuple[Key, ...]
    """This holder's keys that have signed already."""


def review_motion(file: Path, keys: Path, now: datetime) -> ReviewedMotion:
    """Return what the motion in `file` would change; raise BadProposal or BreaksRule for one that nobody should sign."""
    motion = read_motion(file)
    anchor = read_anchor(keys)
    if motion.is_ceremony and anchor is not None:
        keep_anchor(keys, motion.next["root"].encode(), Disk())  # raises for another repository's
    judged = judge(motion, anchor, now)
    mine = own_keys(keys)
    wanted = {
        key.keyid: key
        for need in judged.needs
        for key in need.keys
        if key.keyid in mine and key.keyid not in need.signed
    }
    signed = {key.keyid: key for need in judged.needs for key in need.keys if key.keyid in mine} | {}
    for keyid in wanted:
        signed.pop(keyid)
    return ReviewedMotion(
        judged, title(judged), tuple(describe_motion(judged)), tuple(wanted.values()), tuple(signed.values())
    )


def sign_motion(
    reviewed: ReviewedMotion, file: Path, keys: Path, secret: Passphrase, disk: Disk | None = None
) -> tuple[str, ...]:
    """Add this holder's signatures to `file`; return the names under which they stand.

    Raises KeyProblem, or BreaksRule when none of this holder's keys is asked for.
    """
    disk = disk or Disk()
    judged = reviewed.judged
    if not reviewed.wanted:
        if reviewed.signed:
            return tuple(sorted({holder(key) for key in reviewed.signed}))
        mine = ", ".join(one[:8] for one in own_keys(keys)) or "none"
        who = ", ".join(sorted({holder(key) for need in judged.needs for key in need.keys}))
        raise BreaksRule(f"none of the keys in {keys} ({mine}) may sign this; these may: {who}")
    signed: dict[str, Metadata[Any]] = {role: judged.motion.metadata(role) for role in judged.motion.next}
    mine_by_id = own_keys(keys)
    for key in reviewed.wanted:
        signer = read_key(mine_by_id[key.keyid][0], secret)
        for role, metadata in signed.items():
            if any(need.role == role and key.keyid in {one.keyid for one in need.keys} for need in judged.needs):
                metadata.sign(signer, append=True)
    motion = judged.motion.with_signed(signed)
    if motion.is_ceremony:
        keep_anchor(keys, motion.next["root"].encode(), disk)
    write_motion(file, motion, disk)
    return tuple(sorted({holder(key) for key in reviewed.wanted}))


def merge_motions(one: Motion, other: Motion) -> Motion:
    """Return `one` with the signatures of `other` too; raise BadProposal when they do not say the same."""
    if replace(one, next=dict.fromkeys(one.next, "")) != replace(other, next=dict.fromkeys(other.next, "")):
        raise BadProposal("the two files are not copies of one: they build on different states")
    merged = {}
    for role in one.next:
        mine, theirs = one.metadata(role), other.metadata(role)
        if mine.signed_bytes != theirs.signed_bytes:
            raise BadProposal(f"the two files are not copies of one: they differ in {role}")
        for keyid, signature in theirs.signatures.items():
            mine.signatures.setdefault(keyid, signature)
        merged[role] = mine
    return one.with_signed(merged)
