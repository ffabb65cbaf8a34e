"""The commands, end to end, as a person types them."""

import itertools
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgefleet_protocol.manifest import Requirement
from edgefleet_trust.ceremony import init
from edgefleet_trust.commands import main as trust
from edgefleet_trust.errors import BreaksRule, KeyProblem, TrustError
from edgefleet_trust.files import Disk
from edgefleet_trust.passphrase import OFFLINE, ONLINE, Passphrase, passphrase
from edgefleet_trust.release_commands import main as release
from edgefleet_trust.repository import Repository
from tests.fakes.cutting_disk import CuttingDisk, PowerCut
from tests.fakes.package import make_package


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("passphrase").touch(0o600)
    Path("passphrase").write_text("four words are enough\n")
    monkeypatch.setenv("EDGEFLEET_PASSPHRASE_FILE", "passphrase")
    monkeypatch.delenv("EDGEFLEET_ONLINE_PASSPHRASE_FILE", raising=False)
    return tmp_path


INIT = [
    "init",
    "--repository",
    "repo",
    "--keys",
    "keys",
    "--fleet",
    "demo",
    "--region",
    "eu-west",
    "--region",
    "ap-south",
    "--yes-i-am-alone",
]


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_from_nothing_to_a_published_release(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    for number in (1, 2):
        package = str(make_package(place, seed=number))
        file = f"proposal-{number}"
        assert release(["propose", package, "--repository", "repo", "--out", file, "--notes", "better"]) == 0
        capsys.readouterr()
        assert trust(["sign", file, "--keys", "keys", "--yes", "--json"]) == 0
        words = capsys.readouterr()
        assert f"New release fashion/{number}" in words.err and "better" in words.err and "int8" in words.err
        assert json.loads(words.out)["signatures"] == 1
        assert trust(["publish", file, "--repository", "repo", "--keys", "keys", "--json"]) == 0
        assert answer(capsys)["release"] == f"fashion/{number}"
    assert release(["list", "--repository", "repo", "--json"]) == 0
    assert [row["release"] for row in answer(capsys)["releases"]] == ["fashion/1", "fashion/2"]  # type: ignore[attr-defined]
    assert trust(["verify", "--repository", "repo", "--json"]) == 0
    assert "releases/fashion/2.json" in answer(capsys)["found"]  # type: ignore[operator]


def test_init_asks_who_holds_the_keys(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT[:-1]) == 5
    assert "who holds the offline keys?" in capsys.readouterr().err
    assert not Path("repo").exists() and not Path("keys").exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"demo": "De mo"}, 1, "De mo"),
        ({"ap-south": "AP"}, 1, "AP"),
        ({"ap-south": "eu-west"}, 5, "name each region once"),
        ({"repo": "full"}, 5, "full is not empty"),
        ({"keys": "passphrase"}, 5, "passphrase is a file"),
    ],
)
def test_init_looks_at_names_and_folders_before_it_asks_for_a_passphrase(
    place: Path,
    change: dict[str, str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("years")
    monkeypatch.delenv("EDGEFLEET_PASSPHRASE_FILE")  # there is no terminal either: asking would be an error of its own
    assert trust([change.get(word, word) for word in INIT]) == code
    said = capsys.readouterr().err
    assert words in said and "no passphrase" not in said
    assert trust(INIT) == 1 and "no passphrase" in capsys.readouterr().err
    assert not Path("repo").exists() and not Path("keys").exists()


def test_signing_and_publishing_again_say_that_it_is_done_and_ask_for_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trust(INIT) == 0
    assert release(["propose", str(make_package(place)), "--repository", "repo", "--out", "p"]) == 0
    assert trust(["sign", "p", "--keys", "keys", "--yes"]) == 0
    signed = Path("p").read_bytes()
    capsys.readouterr()
    monkeypatch.setenv("EDGEFLEET_PASSPHRASE_FILE", "nowhere")
    assert trust(["sign", "p", "--keys", "keys"]) == 0
    assert "fashion/1 is already signed by" in capsys.readouterr().out and Path("p").read_bytes() == signed
    monkeypatch.setenv("EDGEFLEET_PASSPHRASE_FILE", "passphrase")
    publish = ["publish", "p", "--repository", "repo", "--keys", "keys"]
    assert trust(publish) == 0
    assert "Published fashion/1" in capsys.readouterr().out
    assert release(["propose", str(make_package(place, seed=3)), "--repository", "repo", "--out", "q"]) == 0
    assert trust(["sign", "q", "--keys", "keys", "--yes"]) == 0
    assert trust([*publish[:1], "q", *publish[2:]]) == 0
    capsys.readouterr()
    monkeypatch.setenv("EDGEFLEET_PASSPHRASE_FILE", "nowhere")
    before = Repository(Path("repo")).version_stamp()
    assert trust([*publish, "--json"]) == 0  # also when another came after it
    assert answer(capsys) == {
        "release": "fashion/1", "releases_version": 3, "already": True,
        "sha256": Repository(Path("repo")).releases()["fashion/1"].sha256,
    }  # fmt: skip
    assert Repository(Path("repo")).version_stamp() == before


def test_a_proposal_that_another_overtook_is_to_be_made_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    for file, seed in (("p", 1), ("q", 2)):
        assert release(["propose", str(make_package(place, seed=seed)), "--repository", "repo", "--out", file]) == 0
        assert trust(["sign", file, "--keys", "keys", "--yes"]) == 0
    assert trust(["publish", "p", "--repository", "repo", "--keys", "keys"]) == 0
    assert trust(["publish", "q", "--repository", "repo", "--keys", "keys"]) == 5
    assert "Run `edgefleet release propose` on the folder again" in capsys.readouterr().err


def test_a_proposal_in_a_pipe_is_answered_in_two_lines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    capsys.readouterr()
    assert release(["propose", str(make_package(place)), "--repository", "repo", "--out", "p"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and len(said.out.splitlines()) == 2


def test_a_reader_that_has_enough_is_no_error(place: Path) -> None:
    assert trust(INIT) == 0
    code = "import sys; from edgefleet_trust.commands import main; sys.exit(main(['status', '--repository', 'repo']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_init_overwrites_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    before = Path("keys/offline/root.json").read_bytes()
    assert trust(INIT) == 5
    assert "not empty" in capsys.readouterr().err
    assert Path("keys/offline/root.json").read_bytes() == before


def test_what_init_makes_is_private_where_it_must_be(place: Path) -> None:
    assert trust(INIT) == 0
    keys = {path for path in Path("keys").rglob("*.json") if path.name != "root-1.json"}
    assert {path.name for path in keys} == {
        "root.json", "releases.json", "keys.json", "snapshot.json", "timestamp.json", "commands.json",
        "rollouts-eu-west.json", "rollouts-ap-south.json",
    }  # fmt: skip
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    assert stat.S_IMODE(Path("keys/offline").stat().st_mode) == 0o700
    assert not any(b"ciphertext" in path.read_bytes() for path in Path("repo").rglob("*") if path.is_file())


@pytest.mark.parametrize("bad", ["Demo", "de mo", "a" * 65, "demo/x", "-demo"])
def test_a_fleet_that_cannot_be_a_topic_is_refused_before_anything_is_made(place: Path, bad: str) -> None:
    arguments = [f"--fleet={bad}" if word == "demo" else word for word in INIT if word != "--fleet"]
    assert trust(arguments) == 1
    assert not Path("repo").exists() and not Path("keys").exists()


def test_signing_asks_and_without_a_terminal_it_does_not_sign(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    assert release(["propose", str(make_package(place)), "--repository", "repo", "--out", "p"]) == 0
    before = Path("p").read_bytes()
    assert trust(["sign", "p", "--keys", "keys"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert Path("p").read_bytes() == before


def test_a_wrong_passphrase_says_so_and_signs_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    assert release(["propose", str(make_package(place)), "--repository", "repo", "--out", "p"]) == 0
    Path("passphrase").write_text("wrong\n")
    assert trust(["sign", "p", "--keys", "keys", "--yes"]) == 1
    assert "the passphrase does not open" in capsys.readouterr().err


def test_the_holder_reads_all_that_a_variant_needs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    needs = Requirement(
        arch=("aarch64", "armv7l"), features=("asimd", "asimddp"), provider="CPUExecutionProvider", min_runtime="1.20.1",
        ir=8, opset=17, memory_bytes=123_000_000, load_s=7,
    )  # fmt: skip
    package = make_package(place, requires={"int8": needs, "fp32": Requirement(ir=8, opset=17, features=("avx2",))})
    assert release(["propose", str(package), "--repository", "repo", "--out", "p"]) == 0
    assert trust(["sign", "p", "--keys", "keys", "--yes"]) == 0
    said = capsys.readouterr().err
    assert (
        "needs a processor aarch64 or armv7l with asimd, asimddp; onnxruntime 1.20.1 or later with CPUExecutionProvider, "
        "IR 8, opset 17; 123 MB of memory; 7 s to load"
    ) in said
    assert "needs any processor with avx2; onnxruntime 1.19.0" in said


def test_a_proposal_is_not_overwritten(place: Path) -> None:
    assert trust(INIT) == 0
    package = str(make_package(place))
    assert release(["propose", package, "--repository", "repo", "--out", "p"]) == 0
    assert release(["propose", package, "--repository", "repo", "--out", "p"]) == 5


@pytest.mark.parametrize(
    ("command", "arguments", "code"),
    [
        (trust, ["status", "--repository", "nowhere"], 3),
        (trust, ["verify", "--repository", "nowhere"], 3),
        (trust, ["sign", "nowhere", "--keys", "keys"], 3),
        (release, ["list", "--repository", "nowhere"], 3),
        (trust, ["sign"], 2),
        (trust, [], 2),
        (trust, ["--help"], 0),
        (release, ["propose", "--help"], 0),
    ],
)
def test_exit_codes(command: object, arguments: list[str], code: int) -> None:
    assert callable(command) and command(arguments) == code


def test_status_names_roles_days_and_the_danger_of_one_key(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trust(INIT) == 0
    capsys.readouterr()
    assert trust(["status", "--repository", "repo"]) == 0
    text = capsys.readouterr().out
    assert "rollouts-ap-south" in text and "WARNING: one key alone signs root, targets, releases, keys" in text
    assert trust(["status", "--repository", "repo", "--json"]) == 0
    status = answer(capsys)
    days = {row["role"]: row["days_left"] for row in status["roles"]}  # type: ignore[attr-defined]
    assert days["root"] == 364 and days["timestamp"] == 6 and days["rollouts-eu-west"] == 29
    assert status["rollouts"] == {"eu-west": 0, "ap-south": 0}


def test_an_interrupted_init_is_simply_run_again(place: Path) -> None:
    secret = Passphrase(b"x")

    def attempt(folder: Path, disk: Disk | None = None) -> None:
        init(folder / "r", folder / "k", "demo", ["eu"], secret, secret, datetime.now(UTC), alone=True, disk=disk)

    for after in itertools.count(0, 3):  # each attempt costs some scrypts
        folder = place / str(after)
        try:
            attempt(folder, CuttingDisk(after))
        except PowerCut:
            looked_whole = (folder / "r/metadata/timestamp.json").exists()
            if looked_whole and not list(folder.rglob(".unfinished")):
                continue  # it was done
            if after % 9 == 0 or looked_whole:  # each costs a scrypt
                before = {path: path.read_bytes() for path in folder.rglob("*.json")} if looked_whole else {}
                attempt(folder)
                assert all(path.read_bytes() == data for path, data in before.items())
                assert Repository(folder / "r").current().root.version == 1
                assert not list(folder.rglob(".unfinished"))
                with pytest.raises(BreaksRule, match="not empty"):
                    attempt(folder)
            else:
                with pytest.raises(TrustError):
                    Repository(folder / "r").current()
        else:
            assert Repository(folder / "r").current().root.version == 1
            return


def test_the_passphrase_is_no_argument(place: Path) -> None:
    assert trust([*INIT, "--passphrase", "x"]) == 2
    assert os.environ["EDGEFLEET_PASSPHRASE_FILE"]


def test_a_passphrase_file_that_others_can_read_is_refused_with_the_line_that_mends_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "words"
    path.write_text("four words are enough\n")
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(
            KeyProblem, match=f"has mode {mode:04o}, so others may read the passphrase: chmod 600 {path}"
        ):
            passphrase(ONLINE, {OFFLINE: str(path)})
    path.chmod(0o400)
    passphrase(ONLINE, {OFFLINE: str(path)})


def test_a_pipe_in_the_place_of_a_public_key_is_refused_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "anna.pub")
    assert trust(["key", "show", str(tmp_path / "anna.pub")]) != 0
    assert "anna.pub is no regular file" in capsys.readouterr().err
