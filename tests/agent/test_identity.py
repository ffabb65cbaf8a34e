"""The device's side of its identity: files that a cut cannot tear, what the configuration takes from it, and its renewal."""

import contextlib
import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from edgefleet_agent import config, identity_crypto, identity_files
from edgefleet_agent.commands import main
from edgefleet_agent.enrol_boot import RETRY_MAX_S, retry_s
from edgefleet_agent.enrol_http import Est
from edgefleet_agent.enrol_name import board_serial, device_name
from edgefleet_agent.enrol_seed import read_token
from edgefleet_agent.errors import AgentError, BadConfig, BadIdentity
from edgefleet_agent.identity import Identity
from edgefleet_agent.identity_renewal import TRY_OTHER_S, Renewal


def made(key: bytes, device: str = "porch-1") -> bytes:
    """Return a certificate that a key gave itself: nothing here asks who made it."""
    private = load_pem_private_key(key, None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=90))
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def pair(folder: Path) -> bytes:
    folder.mkdir(parents=True)
    key = identity_crypto.new_key()
    identity_files.put(folder / "key.pem", key, 0o600)
    (folder / "certificate.pem").write_bytes(made(key))
    return key


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with an identity, and a renewal that has not connected yet."""
    folder = tmp_path / "state/identity"
    pair(folder)
    pair(folder / "next")
    (folder / "ca.pem").write_text("ca")
    (folder / "root.json").write_text("{}")
    told = {"device": "porch-1", "fleet": "demo", "broker": {"host": "hub", "port": 8883}, "url": "https://hub"}
    (folder / "enrolment.json").write_text(json.dumps(told))
    return tmp_path / "state"


def loaded(state: Path) -> Identity:
    identity = Identity.load(state)
    assert identity is not None
    return identity


def fits(identity: Identity) -> bool:
    key, leaf = identity.key_path.read_bytes(), x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    return load_pem_private_key(key, None).public_key() == leaf.public_key()


@pytest.mark.parametrize("cut_at", range(8))
def test_a_cut_anywhere_in_a_take_over_leaves_a_pair_that_fits(
    state: Path, cut_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = (state / "identity/next/key.pem").read_bytes()
    steps = 0

    def step(real):
        def do(*arguments):
            nonlocal steps
            steps += 1
            if steps > cut_at:
                raise KeyboardInterrupt
            return real(*arguments)

        return do

    with monkeypatch.context() as cutting:
        for target, name in ((Path, "replace"), (identity_files, "sync"), (identity_files, "remove")):
            cutting.setattr(target, name, step(getattr(target, name)))
        with contextlib.suppress(KeyboardInterrupt):
            identity_files.take_next(state / "identity")
    assert fits(loaded(state)), "before anything is mended"
    identity_files.settle(state)
    assert fits(loaded(state))
    assert cut_at == 0 or loaded(state).key_path.read_bytes() == new
    assert not (state / "identity/taking").exists()


def test_a_key_that_others_may_read_is_not_used(state: Path) -> None:
    (state / "identity/key.pem").chmod(0o640)
    with pytest.raises(BadIdentity, match="has mode 0640, so others may read it"):
        Identity.load(state)
    (state / "identity/key.pem").unlink()
    (state / "identity/key.pem").symlink_to(state / "identity/ca.pem")
    with pytest.raises(BadIdentity, match="is no regular file"):
        Identity.load(state)


@pytest.mark.parametrize("name", ["ca.pem", "root.json", "certificate.pem", "enrolment.json"])
def test_an_identity_that_lacks_a_part_says_which(state: Path, name: str) -> None:
    (state / "identity" / name).unlink()
    with pytest.raises(BadIdentity, match=f"{name}.*Enrol anew"):
        Identity.load(state)


def test_a_device_without_identity_has_none(tmp_path: Path) -> None:
    assert Identity.load(tmp_path) is None


def test_with_an_identity_the_configuration_needs_nothing(state: Path) -> None:
    (state.parent / "agent.toml").write_text("[broker]\nport = 1\n")
    found, folder = config.load(state.parent / "agent.toml"), state / "identity"
    assert (found.device, found.fleet, found.root) == ("porch-1", "demo", folder / "root.json")
    assert (found.broker.host, found.broker.port) == ("hub", 1)
    assert (found.broker.ca, found.broker.key) == (folder / "ca.pem", folder / "key.pem")


def test_a_configuration_for_another_device_than_the_identitys_is_refused(state: Path) -> None:
    (state.parent / "agent.toml").write_text('device = "porch-2"\n')
    with pytest.raises(BadConfig, match=r"device is 'porch-2', and the identity in .* is of device 'porch-1'"):
        config.load(state.parent / "agent.toml")


@pytest.mark.parametrize("text", ["", "x", "ef1.a.b", "ef2." + "A" * 43 + "." + "A" * 22, "ef1." + "é" * 43 + ".AA"])
def test_a_token_that_was_not_copied_whole_is_called_so(text: str) -> None:
    with pytest.raises(AgentError, match="copy it whole"):
        read_token(text)
    assert read_token("ef1." + "A" * 43 + "." + "A" * 22 + "\n").fingerprint == bytes(32)


def test_a_token_file_that_is_no_text_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text("")
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    (tmp_path / "token").chmod(0o600)
    files = ["--config", str(tmp_path / "agent.toml"), "--token-file", str(tmp_path / "token")]
    assert main(["enrol", "https://fleet.example", *files, "--device", "porch-1"]) == 2
    assert "holds no text: name the file with the token" in capsys.readouterr().err


def test_a_pipe_in_the_place_of_a_token_file_is_refused_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text("")
    os.mkfifo(tmp_path / "token", 0o600)
    files = ["--config", str(tmp_path / "agent.toml"), "--token-file", str(tmp_path / "token")]
    assert main(["enrol", "https://fleet.example", *files, "--device", "porch-1"]) == 2
    assert "token cannot be read: it is no regular file" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["https://a b", "https://a\n", "https://" + "a" * 64, "https://a..b", "https://a:0"])
def test_an_address_that_no_resolver_takes_is_called_so_at_once(url: str) -> None:
    with pytest.raises(AgentError, match="write it as https://HOST:PORT"):
        Est(url)


TOKEN = "ef1." + "A" * 43 + "." + "A" * 22


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["enrol", "ftp://fleet.example", "--at-boot", "--token", TOKEN], "write it as https://HOST:PORT"),
        (["enrol", "https://fleet.example", "--at-boot", "--token", "ef1.x"], "copy it whole"),
        (["enrol", "https://fleet.example", "--token-file", "nowhere"], "the token file nowhere cannot be read"),
        (["enrol", "https://fleet.example", "--token", TOKEN, "--device", "Porch 1"], "cannot name a device"),
        (["enrol", "https://fleet.example", "--token", TOKEN, "--region", "EU West"], "cannot name a region"),
        (["enrol", "https://fleet.example", "--token", TOKEN, "--bundle", "nowhere"], "nowhere/ca.pem cannot be read"),
        (["seal", "--token", TOKEN], "name it with --url"),
        (["seal", "--url", "https://fleet.example"], "name it with --token-file"),
        (["seal", "--url", "ftp://fleet.example", "--token", TOKEN], "write it as https://HOST:PORT"),
    ],
)
def test_a_wrong_option_is_exit_code_2_and_nothing_is_noted_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: list[str], words: str
) -> None:
    (tmp_path / "agent.toml").write_text("")
    assert main([*said, "--config", str(tmp_path / "agent.toml")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "state/enrol/seed.json").exists()


def test_a_device_is_named_after_its_board(tmp_path: Path) -> None:
    tree = tmp_path / "sys/firmware/devicetree/base"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert board_serial(tmp_path) is None
    assert device_name(tmp_path, "aarch64", None) != device_name(tmp_path, "aarch64", None)
    (tree / "serial-number").write_bytes(b"00AB_12\0")
    assert device_name(tmp_path, "aarch64", board_serial(tmp_path)) == "pi5-ab-12"


def test_waiting_devices_do_not_come_in_step() -> None:
    waits = [retry_s(failures, lambda: 0.5) for failures in range(12)]
    assert waits == sorted(waits) and waits[-1] == RETRY_MAX_S / 2 and retry_s(0, lambda: 0.0) == 1.0


@pytest.mark.parametrize("verb", ["enrol", "seal"])
def test_help_names_every_exit_code_and_a_token_is_better_not_an_argument(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = capsys.readouterr().out
    assert "exit codes:" in said and "others on this machine" in said and "EDGEFLEET_ENROL_TOKEN_FILE" in said


class FakeLink:
    """Takes a pair, and has a connection when a test says so."""

    def __init__(self) -> None:
        self.session: int | None = 1
        self.used: list[Path] = []

    def connected_session(self) -> "int | None":
        return self.session

    def use_certificate(self, certificate: Path, key: Path) -> None:
        self.used.append(certificate.parent)


def test_a_renewed_pair_is_taken_over_by_the_first_new_connection(state: Path) -> None:
    link = FakeLink()
    renewal = Renewal(state, link, 0.0)
    assert link.used == [state / "identity/next"]
    renewal.step(1.0, 0.0)
    assert (state / "identity/next").is_dir(), "the old connection proves nothing"
    link.session = 2
    renewal.step(2.0, 0.0)
    assert not (state / "identity/next").exists() and fits(loaded(state))


def test_a_renewed_pair_that_never_connects_gives_way_to_the_old_one_and_is_tried_again(state: Path) -> None:
    link = FakeLink()
    renewal = Renewal(state, link, 0.0)
    link.session = None
    for at in (1.0, TRY_OTHER_S + 2, 2 * TRY_OTHER_S + 3):
        renewal._due = at + 1  # no child is asked here
        renewal.step(at, 0.0)
    assert link.used == [state / "identity/next", state / "identity", state / "identity/next"]
    assert (state / "identity/next").is_dir()
