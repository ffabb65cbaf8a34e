"""Key files and passphrases."""

import json
import os
from pathlib import Path

import pytest

from edgefleet_trust.errors import KeyProblem, NotThere, WrongPassphrase
from edgefleet_trust.files import Disk
from edgefleet_trust.keyfile import MIN_N, KeyWriter, read_key
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.passphrase import OFFLINE, ONLINE, Passphrase, passphrase

SECRET = Passphrase(b"four words are enough")


def new_key(folder: Path) -> Path:
    KeyWriter(folder, SECRET, disk=Disk()).new("releases")
    return folder / "releases.json"


def test_a_key_comes_back_as_it_was_written(tmp_path: Path) -> None:
    signer = KeyWriter(tmp_path, SECRET, disk=Disk()).new("releases")
    again = read_key(tmp_path / "releases.json", Passphrase(b"four words are enough"))
    assert again.public_key == signer.public_key
    again.public_key.verify_signature(signer.sign(b"x"), b"x")


def test_the_file_says_nothing_of_the_private_key(tmp_path: Path) -> None:
    signer = KeyWriter(tmp_path, SECRET, disk=Disk()).new("releases")
    raw = signer._private_key.private_bytes_raw()  # type: ignore[union-attr]
    text = (tmp_path / "releases.json").read_bytes()
    assert raw not in text and raw.hex().encode() not in text


def test_a_wrong_passphrase_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(WrongPassphrase, match=r"passphrase does not open .*releases"):
        read_key(new_key(tmp_path), Passphrase(b"five"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = new_key(tmp_path)
    path.chmod(mode)
    with pytest.raises(KeyProblem, match="chmod 600"):
        read_key(path, SECRET)


def test_a_new_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    assert new_key(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = new_key(tmp_path)
    before = path.read_bytes()
    with pytest.raises(KeyProblem, match="never overwritten"):
        new_key(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("field", ["name", "keyid", "public", "salt", "nonce", "cipher"])
def test_a_change_of_any_part_of_the_header_is_noticed(tmp_path: Path, field: str) -> None:
    path = new_key(tmp_path)
    document = json.loads(path.read_bytes())
    value = document["header"][field]
    document["header"][field] = ("A" if value[0] != "A" else "B") + value[1:]
    path.write_text(json.dumps(document))
    with pytest.raises(KeyProblem):
        read_key(path, SECRET)


@pytest.mark.parametrize("n", [1, 2**14, MIN_N + 1, 2**40])
def test_a_cost_that_we_never_write_is_refused_before_it_is_paid(tmp_path: Path, n: int) -> None:
    path = new_key(tmp_path)
    document = json.loads(path.read_bytes())
    document["header"]["scrypt_n"] = n
    path.write_text(json.dumps(document))
    with pytest.raises(KeyProblem, match="scrypt n"):
        read_key(path, SECRET)


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 4000, b"x" * 5000, b"\xff"])
def test_a_file_that_is_no_key_is_called_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "releases.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyProblem, match="not a key file"):
        read_key(path, SECRET)


def test_a_pipe_is_no_key_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root.json", 0o600)
    with pytest.raises(KeyProblem, match="no regular file"):
        read_key(tmp_path / "root.json", SECRET)


def test_a_symlink_is_no_key(tmp_path: Path) -> None:
    path = new_key(tmp_path)
    (tmp_path / "link.json").symlink_to(path)
    with pytest.raises(KeyProblem):
        read_key(tmp_path / "link.json", SECRET)


def test_a_missing_key_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThere):
        read_key(tmp_path / "releases.json", SECRET)
    with pytest.raises(NotThere):
        OnlineKeys.load(tmp_path, b"x")


def test_a_passphrase_comes_from_the_file_and_the_online_one_falls_back(tmp_path: Path) -> None:
    (tmp_path / "one").touch(0o600)
    (tmp_path / "one").write_bytes(b"offline\n")
    (tmp_path / "two").touch(0o600)
    (tmp_path / "two").write_bytes(b"online")
    both = {OFFLINE: str(tmp_path / "one"), ONLINE: str(tmp_path / "two")}
    salt = b"0" * 16
    assert passphrase(OFFLINE, both).derive(salt, 2) == Passphrase(b"offline").derive(salt, 2)
    assert passphrase(ONLINE, both).derive(salt, 2) == Passphrase(b"online").derive(salt, 2)
    fallback = passphrase(ONLINE, {OFFLINE: both[OFFLINE]})
    assert fallback.derive(salt, 2) == Passphrase(b"offline").derive(salt, 2)


def test_an_empty_or_unreadable_passphrase_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(KeyProblem, match="empty"):
        passphrase(OFFLINE, {OFFLINE: str(tmp_path / "empty")})
    with pytest.raises(NotThere, match="cannot be read"):
        passphrase(OFFLINE, {OFFLINE: str(tmp_path / "none")})
