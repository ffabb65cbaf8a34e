"""Keeping a server: begun, checked, copied while it works, and brought back."""

import io
import json
import logging
import sqlite3
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet_protocol.messages import Event
from edgefleet_server.app import Server
from edgefleet_server.commands import server as server_command
from edgefleet_server.config import IdentityConfig, ServerConfig, load
from edgefleet_server.errors import NotFound, Refused
from edgefleet_server.identity.authority import establish
from edgefleet_server.logs import JsonLines
from edgefleet_server.operate.backup import back_up, read_manifest, restore
from edgefleet_server.operate.check import check
from edgefleet_server.store import events
from edgefleet_trust.passphrase import Passphrase
from tests.fakes.repository import PASSPHRASE, FakeRepository

from .conftest import MakeServer


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server without a broker."""
    server = make_server(1)
    yield server
    server.database.close()


def rows(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT device, boot, number FROM events ORDER BY 1, 2, 3").fetchall()
    finally:
        connection.close()


def elsewhere(config: ServerConfig, folder: Path) -> ServerConfig:
    return replace(config, data=folder / "data", repository=folder / "repository", keys=folder / "keys")


def test_a_backup_under_load_restores_one_moment_and_the_server_goes_on_from_it(
    server: Server, tmp_path: Path, make_server: MakeServer
) -> None:
    server.controller.turn()
    ending, written = threading.Event(), [0, 0]

    def write(thread: int) -> None:
        while not ending.is_set():
            number = written[thread]
            with server.database.write() as connection:  # two rows that belong together
                for boot in ("a", "b"):
                    event = Event(device=f"d{thread}", boot=boot, number=number, at_s=1.0, kind="k", text="t" * 200)
                    events.add(connection, event, 1.0)
            written[thread] += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        while min(written) < 50:
            pass
        before = list(written)
        back_up(server.config, tmp_path / "one.tar.gz", with_keys=True)
        after = [count + 1 for count in written]
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    target = elsewhere(server.config, tmp_path / "new")
    manifest = restore(tmp_path / "one.tar.gz", target)
    found = rows(target.data / "server.sqlite3")
    for thread in range(2):
        halves = [[row[2] for row in found if row[:2] == (f"d{thread}", boot)] for boot in ("a", "b")]
        assert halves[0] == halves[1] == list(range(len(halves[0])))
        assert before[thread] <= len(halves[0]) <= after[thread]
    assert manifest.left_out == ()
    for part in ("repository", "keys"):
        old, new = (getattr(config, part) for config in (server.config, target))
        names = {path.relative_to(old).as_posix() for path in old.rglob("*") if path.is_file() and path.name != ".lock"}
        assert names == {path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file()}
        assert all((old / name).read_bytes() == (new / name).read_bytes() for name in names)
    again = Server(target, PASSPHRASE)
    again.controller.turn()
    assert again.views.releases() == server.views.releases()
    again.database.close()


def test_without_leave_a_backup_holds_no_private_key_and_says_which_it_lacks(server: Server, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    folder = tmp_path / "identity"
    establish(folder, "demo", ["localhost"], Passphrase(b"a long passphrase for it"), datetime.now(UTC))
    config = replace(server.config, identity=IdentityConfig(folder))
    made = back_up(config, tmp_path / "one.tar.gz", with_keys=False)
    assert (tmp_path / "one.tar.gz").stat().st_mode & 0o777 == 0o600
    assert {"identity/ca.key.json", "identity/hub.key", "identity/server.key"} <= set(made.left_out)
    assert "identity/ca.pem" in made.files and not any(name.startswith("keys/") for name in made.files)
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        for member in archive:
            data = archive.extractfile(member)
            assert data is not None and b"PRIVATE KEY" not in data.read(), member.name
    with pytest.raises(Refused, match="not written over"):
        back_up(config, tmp_path / "one.tar.gz", with_keys=False)


def test_a_backup_of_a_newer_version_and_a_target_that_holds_something_are_refused(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "one.tar.gz"
    back_up(server.config, file, with_keys=True)
    target = elsewhere(server.config, tmp_path / "new")
    for fields in ({"version": "99.0.0"}, {"form": "9999"}, {"format": 2}, {"format": 2, "form": 7, "files": []}):
        rewritten(file, tmp_path / "other.tar.gz", manifest=fields)
        with pytest.raises(Refused, match="newer than this one"):
            restore(tmp_path / "other.tar.gz", target)
    with pytest.raises(NotFound, match="is not there"):
        restore(tmp_path / "none.tar.gz", target)
    with pytest.raises(NotFound, match="is no folder"):
        back_up(server.config, tmp_path / "none" / "one.tar.gz", with_keys=False)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(Refused, match=r"is no backup of this server, or it is damaged: [^\n]+$"):
        restore(tmp_path / "text", target)
    target.repository.mkdir(parents=True)
    (target.repository / "mine").write_text("x")
    with pytest.raises(Refused, match="is not empty"):
        restore(file, target)
    assert not target.data.exists() and (target.repository / "mine").read_text() == "x"


def rewritten(source: Path, target: Path, *, manifest: dict[str, object] | None = None, **bodies: bytes) -> None:
    """Copy a backup, with other fields in its manifest, and other bytes in the file whose name ends so."""
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            data = old.extractfile(member)
            assert data is not None
            body = data.read()
            if member.name == "manifest.json" and manifest:
                body = json.dumps({**json.loads(body), **manifest}).encode()
            for name, other in bodies.items():
                if member.name.endswith(name):
                    body = other
            member.size = len(body)
            new.addfile(member, io.BytesIO(body))


def test_a_damaged_backup_restores_nothing(server: Server, tmp_path: Path) -> None:
    file, broken = tmp_path / "one.tar.gz", tmp_path / "broken.tar.gz"
    back_up(server.config, file, with_keys=True)
    target = elsewhere(server.config, tmp_path / "new")
    whole = file.read_bytes()
    size = len(server.config.repository.joinpath("fleet.json").read_bytes())
    rewritten(file, broken, **{"fleet.json": b"x" * size})
    cases = [broken.read_bytes(), whole[: len(whole) // 2], whole[:100], b"", b"no archive at all"]
    for cut in (len(whole) // 3, len(whole) * 2 // 3):
        cases.append(whole[:cut] + bytes([whole[cut] ^ 0xFF]) + whole[cut + 1 :])
    for data in cases:
        broken.write_bytes(data)
        with pytest.raises(Refused):
            restore(broken, target)
        assert not any(path.is_file() for path in (tmp_path / "new").rglob("*"))
    with tarfile.open(file) as old, tarfile.open(broken, "w:gz") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        extra = tarfile.TarInfo("../outside")
        new.addfile(extra, io.BytesIO())
    with pytest.raises(Refused, match="tampered"):
        restore(broken, target)
    assert read_manifest(file).fleet == server.topics.fleet


def test_check_says_what_is_well_and_what_to_do_next(
    server: Server, repo: FakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFLEET_ONLINE_PASSPHRASE_FILE", str(repo.passphrase_file))
    found = {row.name: row for row in check(server.config)}
    assert {found[name].state for name in ("database", "online keys", "clock", "folder data")} == {"ok"}
    assert "a server has it" in found["database"].text
    assert found["broker"].state == "failed" and "server broker config" in found["broker"].next_step
    gone = replace(server.config, repository=Path("nowhere"))
    assert [row.next_step for row in check(gone) if row.name == "folder repository"] == [
        "Make it: edgefleet trust init"
    ]
    server.database.close()
    (server.config.data / "server.sqlite3").write_bytes(b"no database" * 1000)
    row = next(row for row in check(server.config) if row.name == "database")
    assert row.state == "failed" and "server restore" in row.next_step


def test_init_makes_what_is_missing_and_nothing_twice(
    repo: FakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "place" / "server.toml"
    where = ["init", "--config", str(path), "--host", "localhost", "--admin", "ana", "--json"]
    assert server_command(where) == 5
    steps = {row["name"]: row for row in json.loads(capsys.readouterr().out)["steps"]}
    assert steps["server.toml"]["state"] == "made" and "trust init" in steps["repository"]["next"]
    config = load(path)
    repo.folder.rename(config.repository)
    secret = tmp_path / "secret"
    secret.write_text("a long passphrase for it")
    secret.chmod(0o600)
    monkeypatch.setenv("EDGEFLEET_CA_PASSPHRASE_FILE", str(secret))
    assert server_command(where) == 0
    token = (path.parent / "admin.token").read_text()
    assert (path.parent / "admin.token").stat().st_mode & 0o777 == 0o600
    before = {file: file.read_bytes() for file in (path, *(path.parent / "identity").iterdir())}
    capsys.readouterr()
    assert server_command(where) == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)["steps"]} == {"was there"}
    assert before == {file: file.read_bytes() for file in before}
    assert (path.parent / "admin.token").read_text() == token


def test_the_log_of_machines_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a.b", logging.WARNING, "f", 1, "said %s", ("x",), sys.exc_info())
    line = JsonLines().format(record)
    row = json.loads(line)
    assert "\n" not in line and (row["level"], row["logger"], row["text"]) == ("warning", "a.b", "said x")
    assert "ValueError" in row["trace"]
