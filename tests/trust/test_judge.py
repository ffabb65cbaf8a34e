"""Whatever no verb of ours would have written is refused by the holder's own look at it."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import DelegatedRole

from edgefleet_trust.ceremony import prepare
from edgefleet_trust.errors import BadPackage, BreaksRule, KeyProblem, TrustError
from edgefleet_trust.files import Disk
from edgefleet_trust.first_hands import FirstHands, read_hands
from edgefleet_trust.holders import named, public_file, read_public
from edgefleet_trust.judge import judge
from edgefleet_trust.keyfile import P256, KeyWriter, read_key
from edgefleet_trust.motion import Motion, encode_motion, read_motion
from edgefleet_trust.motion_signing import merge_motions
from edgefleet_trust.passphrase import CREDENTIAL, ONLINE, Passphrase, passphrase, passphrase_file
from edgefleet_trust.propose import propose
from edgefleet_trust.repository import Repository
from edgefleet_trust.rotate import renew, replace_holder, set_hand
from edgefleet_trust.status import read_status
from edgefleet_trust.words import COUNT, WORDS, fingerprint
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package


def key(name: str) -> Key:
    return named(CryptoSigner.generate_ecdsa().public_key, name)


def twin(of: Key, name: str) -> Key:
    """The same key under another id."""
    return named(SSlibKey("ab" * 32, of.keytype, of.scheme, dict(of.keyval)), name)


def test_one_key_under_two_ids_does_not_count_as_two(repo: FakeRepository) -> None:
    anna = key("anna")
    with pytest.raises(BreaksRule, match="one and the same key"):
        FirstHands((anna, twin(anna, "ben")), (anna,), 2, 1).check()
    with pytest.raises(BreaksRule, match="one and the same key"):
        set_hand(repo.repository, "root", [anna, twin(anna, "ben")], 2, repo.now)


@pytest.mark.parametrize(("keys", "threshold"), [(2, 3), (2, 0), (0, 1)])
def test_a_threshold_that_nobody_can_meet_is_refused(repo: FakeRepository, keys: int, threshold: int) -> None:
    with pytest.raises(BreaksRule, match="can never sign"):
        set_hand(repo.repository, "releases", [key(f"p{n}") for n in range(keys)], threshold, repo.now)


@pytest.mark.parametrize(
    ("people", "safes", "root", "releases"), [(1, 0, (1, 1), (1, 1)), (2, 1, (2, 3), (1, 2)), (3, 2, (3, 5), (2, 3))]
)
def test_thresholds_are_those_of_a_demo_of_two_people_and_of_a_company(
    tmp_path: Path, people: int, safes: int, root: tuple[int, int], releases: tuple[int, int]
) -> None:
    files = []
    for number in range(people + safes):
        files.append(tmp_path / f"p{number}.pub")
        files[-1].write_bytes(public_file(f"p{number}", key("x")))
    hands = read_hands(files[:people], files[people:], None, None)
    hands.check()
    assert (hands.root_threshold, len(hands.root)) == root
    assert (hands.releases_threshold, len(hands.releases)) == releases
    if releases[0] == 1:
        hands.check_fleet_size(5, one_is_enough=False)
        with pytest.raises(BreaksRule, match="one signature would be enough"):
            hands.check_fleet_size(6, one_is_enough=False)
    hands.check_fleet_size(6, one_is_enough=True)


def longer(motion: Motion) -> Motion:
    root = motion.metadata("root")
    root.signed.expires += timedelta(days=40)
    return motion.with_signed({"root": root})


def skipping(motion: Motion) -> Motion:
    root = motion.metadata("root")
    root.signed.version += 1
    return motion.with_signed({"root": root})


def from_the_future(motion: Motion) -> Motion:
    root = motion.metadata("root")
    root.signed.unrecognized_fields["x-edgefleet-issued"] = "2099-01-01T00:00:00Z"
    return motion.with_signed({"root": root})


def wider_pattern(motion: Motion) -> Motion:
    targets = motion.metadata("targets")
    targets.signed.delegations.roles["rollouts-eu-west"].paths = ["rollouts/*.json"]
    return motion.with_signed({"targets": targets})


def another_role(motion: Motion) -> Motion:
    targets = motion.metadata("targets")
    roles = targets.signed.delegations.roles
    roles["extra"] = DelegatedRole("extra", list(roles["releases"].keyids), 1, True, paths=["releases/*/*"])
    return motion.with_signed({"targets": targets})


def a_server_key_for_root(motion: Motion) -> Motion:
    root = motion.metadata("root")
    keyid = root.signed.roles["timestamp"].keyids[0]
    for role in ("root", "targets"):
        root.signed.roles[role].keyids.append(keyid)
    return motion.with_signed({"root": root})


def a_release_of_its_own(motion: Motion) -> Motion:
    releases = motion.metadata("releases")
    releases.signed.targets["releases/fashion/1.json"].hashes["sha256"] = "ab" * 32
    return motion.with_signed({"releases": releases})


def a_forgotten_number(motion: Motion) -> Motion:
    releases = motion.metadata("releases")
    releases.signed.unrecognized_fields.clear()
    return motion.with_signed({"releases": releases})


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (longer, "400 days"), (skipping, "not one on"), (from_the_future, "issued at 2099"), (wider_pattern, "would sign"),
        (another_role, "would sign|does not exist"), (a_server_key_for_root, "offline key must stay offline"),
        (a_release_of_its_own, "release propose"), (a_forgotten_number, "forgets numbers"),
    ],
)  # fmt: skip
def test_a_motion_that_was_altered_is_not_signed(
    repo: FakeRepository, alter: Callable[[Motion], Motion], words: str
) -> None:
    motion = renew(repo.repository, ["root", "targets", "releases", "keys"], repo.now)
    judge(motion, repo.root, repo.now)
    with pytest.raises(TrustError, match=words) as refused:
        judge(alter(motion), repo.root, repo.now)
    assert refused.value.exit_code == 5


def test_counting_starts_anew_only_with_new_keys_for_what_counts(repo: FakeRepository) -> None:
    motion = renew(repo.repository, ["root"], repo.now)
    with pytest.raises(TrustError, match="start anew") as refused:
        judge(replace(motion, restart=True), repo.root, repo.now)
    assert refused.value.exit_code == 5


@pytest.mark.parametrize("regions", [(), ("eu-west", "another")])
def test_a_ceremony_names_the_regions_that_are_signed(tmp_path: Path, regions: tuple[str, ...]) -> None:
    secret, now = Passphrase(PASSPHRASE), datetime.now(timezone.utc)
    anna = key("anna")
    motion = prepare(tmp_path, "demo", ["eu-west"], FirstHands((anna,), (anna,), 1, 1), secret, now)
    judge(motion, None, now)
    with pytest.raises(TrustError, match="regions") as refused:
        judge(replace(motion, regions=regions), None, now)
    assert refused.value.exit_code == 5


def test_copies_of_which_one_starts_counting_anew_are_not_merged(repo: FakeRepository) -> None:
    motion = renew(repo.repository, ["root"], repo.now)
    with pytest.raises(TrustError, match="not copies of one"):
        merge_motions(motion, replace(motion, restart=True))


def test_copies_that_differ_are_not_merged(repo: FakeRepository) -> None:
    motion = renew(repo.repository, ["root"], repo.now)
    with pytest.raises(TrustError, match="not copies of one"):
        merge_motions(motion, skipping(motion))


@pytest.mark.parametrize("spoil", [b"", b"{}", b'{"format":1}', b"[" * 100_000, bytes(2000)])
def test_a_file_that_is_nothing_to_sign_is_called_so(tmp_path: Path, spoil: bytes) -> None:
    (tmp_path / "f").write_bytes(spoil)
    with pytest.raises(TrustError, match="nothing that holders sign"):
        read_motion(tmp_path / "f")


def test_every_byte_of_a_motion_may_be_hostile(repo: FakeRepository, tmp_path: Path) -> None:
    """Each flip is refused by an error of ours, or changes nothing that is signed."""
    whole = encode_motion(renew(repo.repository, ["keys"], repo.now))
    for place in range(0, len(whole), 97):
        (tmp_path / "f").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            judge(read_motion(tmp_path / "f"), repo.root, repo.now)
        except TrustError:
            continue


def test_dropping_the_last_holder_is_refused(repo: FakeRepository) -> None:
    root = repo.repository.current().root.roles["root"].keyids[0]
    with pytest.raises(BreaksRule, match="can never sign"):
        replace_holder(repo.repository, root[:8], None, repo.now)


def test_status_says_that_one_more_loss_ends_it(repo: FakeRepository) -> None:
    anna = read_key(repo.keys_folder / "offline/root.json", Passphrase(PASSPHRASE)).public_key
    second = KeyWriter(repo.keys_folder / "offline", Passphrase(PASSPHRASE), disk=Disk()).new("ben", P256).public_key
    repo.carry(set_hand(repo.repository, "root", [named(anna, "anna"), named(second, "ben")], 2, repo.now))
    assert any(
        "root needs every one of" in text and "one more loss and nothing can be signed" in text
        for text in read_status(repo.repository, repo.now).warnings
    )


def test_words_are_256_and_twelve_of_them_are_a_key(tmp_path: Path) -> None:
    assert len(set(WORDS)) == len(WORDS) == 256
    one = key("anna")
    (tmp_path / "anna.pub").write_bytes(public_file("anna", one))
    assert fingerprint(read_public(tmp_path / "anna.pub")) == fingerprint(one)
    assert len(fingerprint(one).split()) == COUNT and fingerprint(one) != fingerprint(key("anna"))


@pytest.mark.parametrize("name", ["root", "timestamp", "rollouts-eu", "An na", ""])
def test_a_holder_cannot_be_called_like_a_role(name: str) -> None:
    with pytest.raises(BreaksRule):
        public_file(name, key("x"))


def test_a_p256_key_comes_back_and_an_unencrypted_uri_is_refused(tmp_path: Path) -> None:
    secret = Passphrase(b"x")
    writer = KeyWriter(tmp_path, secret, disk=Disk())
    made = writer.new("anna", P256)
    again = read_key(tmp_path / "anna.json", Passphrase(b"x"))
    assert again.public_key == made.public_key and made.public_key.scheme == "ecdsa-sha2-nistp256"
    writer.refer("plain", "file2:/nowhere", made.public_key)
    with pytest.raises(KeyProblem, match="without a passphrase"):
        read_key(tmp_path / "plain.json", secret)
    writer.refer("ours", f"edgefleet:{tmp_path / 'anna.json'}", made.public_key)
    file = tmp_path / "words"
    file.touch(0o600)
    file.write_text("x\n")
    os.environ["EDGEFLEET_PASSPHRASE_FILE"], before = str(file), os.environ.get("EDGEFLEET_PASSPHRASE_FILE")
    try:
        assert read_key(tmp_path / "ours.json", secret).public_key == made.public_key
    finally:
        os.environ.pop("EDGEFLEET_PASSPHRASE_FILE")
        if before is not None:
            os.environ["EDGEFLEET_PASSPHRASE_FILE"] = before


def test_systemd_s_credential_and_a_descriptor_are_places_of_a_passphrase(tmp_path: Path) -> None:
    (tmp_path / CREDENTIAL).touch(0o400)
    assert passphrase_file(ONLINE, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == tmp_path / CREDENTIAL
    reader, writer = os.pipe()
    os.write(writer, b"four words\n")
    os.close(writer)
    assert passphrase(ONLINE, {ONLINE: f"/dev/fd/{reader}"}).secret == b"four words"
    os.close(reader)


def test_a_pipe_in_a_package_is_refused_and_not_waited_for(repo: FakeRepository, tmp_path: Path) -> None:
    package = make_package(tmp_path, seed=7)
    victim = package / "files/fp32/model.onnx"
    victim.unlink()
    os.mkfifo(victim)
    with pytest.raises(BadPackage, match="no regular file"):
        propose(package, repo.repository, repo.now)


def test_one_rotten_target_is_left_out_and_said(repo: FakeRepository) -> None:
    repo.roll_out("eu-west", "fashion/1")
    repo.roll_out("ap-south", "fashion/1")
    before = set(repo.repository.targets())
    rotten = repo.ref("fashion/1").sha256
    (repo.folder / "targets" / rotten).write_bytes(b"x")
    repository = Repository(repo.folder)
    assert set(repository.targets()) == before - {rotten}
    assert any("left out of what is published" in text for text in read_status(repository, repo.now).warnings)
