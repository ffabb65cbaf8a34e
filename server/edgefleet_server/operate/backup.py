"""A server in one file: its database, repository and identity as they were at one moment, with a digest of each."""

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import msgspec

from edgefleet_trust.errors import TrustError
from edgefleet_trust.repository import Repository

from .. import __version__
from ..config import ServerConfig
from ..errors import NotFound, Refused, ServerError
from ..store import copying
from ..store.database import look_at

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "data/server.sqlite3"
SECRETS = (".key", "key.json", "key.pem")
"""How the files of private keys end, in the identity folder."""
TRIES = 5
MOST_BYTES = 64 << 30


@dataclass(frozen=True)
class FileRow:
    """One file of a backup."""

    sha256: str
    bytes: int
    mode: int


@dataclass(frozen=True)
class _Head:
    """What every version of a manifest begins with."""

    format: int
    version: str


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    version: str
    form: str
    """The last migration of its database."""
    fleet: str
    made_s: float
    with_keys: bool
    left_out: tuple[str, ...]
    """Files of private keys that it does not hold: whoever restores brings them."""
    files: dict[str, FileRow]
    database: str = "sqlite"
    """`postgresql`: then it is not in the file. `pg_dump` has a snapshot of its own, and puts it back."""


def back_up(config: ServerConfig, out: Path, *, with_keys: bool, config_file: Path | None = None) -> Manifest:
    """Write a backup to `out`, mode 600, whether a server runs or not; return what is in it.

    Raises NotFound where there is no database yet, Refused when `out` exists, ServerError when it cannot be done.
    """
    database = config.place
    if isinstance(database, Path) and not database.is_file():
        raise NotFound(f"{database} is not there: there is nothing to back up yet")
    if not out.parent.is_dir():
        raise NotFound(f"{out.parent} is no folder, so no backup can be written there: make it first")
    if out.exists():
        raise Refused(f"{out} exists, and a backup is not written over: name another file, or remove it")
    with tempfile.TemporaryDirectory(prefix=".edgefleet-backup-", dir=out.parent) as place:
        folder = Path(place)
        left_out: list[str] = []
        # The repository first: what the database says later is signed anew from it, and never the other way round.
        fleet = _copy_repository(config.repository, folder / "repository")
        if config.identity is not None and config.identity.folder.is_dir():
            left_out += _copy(config.identity.folder, folder / "identity", keys=with_keys)
        if with_keys:
            _copy(config.keys, folder / "keys", keys=True)
        else:
            left_out += [f"keys/{path.relative_to(config.keys).as_posix()}" for path in _files(config.keys)]
        if config_file is not None:
            shutil.copyfile(config_file, folder / "server.toml")
        form, kind = _copy_database(database, folder)
        files = {path.relative_to(folder).as_posix(): _row(path) for path in sorted(_files(folder))}
        manifest = Manifest(
            FORMAT, __version__, form, fleet, time.time(), with_keys, tuple(sorted(left_out)), files, kind
        )
        _pack(folder, manifest, out)
    return manifest


def _copy_database(database: Path | str, folder: Path) -> tuple[str, str]:
    """Copy it, where it is a file; return its form and its kind."""
    if isinstance(database, str):
        return look_at(database).form or "", "postgresql"
    try:
        (folder / "data").mkdir()
        copying.copy(database, folder / DATABASE)
        return copying.form(folder / DATABASE) or "", "sqlite"
    except sqlite3.Error as error:
        raise ServerError(f"the database {database} could not be copied: {error}") from error


def read_manifest(file: Path) -> Manifest:
    """Return what the backup says of itself; raise NotFound where there is no file, Refused for what is no backup of ours."""
    if not file.is_file():
        raise NotFound(f"{file} is not there, or no file")
    try:
        with tarfile.open(file) as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or (data := archive.extractfile(first)) is None:
                raise Refused(f"{file} is no backup of this server: it does not begin with {MANIFEST}")
            said = data.read(64 << 20)
        # A later version may write the rest in another way, so its number is read first.
        head = msgspec.json.decode(said, type=_Head)
        if head.format > FORMAT:
            raise Refused(_newer(file, head.version, "of another kind"))
        return msgspec.json.decode(said, type=Manifest)
    except tarfile.ReadError as error:
        raise Refused(
            f"{file} is no backup of this server, or it is damaged: {str(error).splitlines()[0].removesuffix(':')}"
        ) from error
    except (tarfile.TarError, msgspec.MsgspecError, zlib.error, EOFError, OSError) as error:
        raise Refused(f"{file} is no backup of this server, or it is damaged: {error}") from error


def restore(file: Path, config: ServerConfig) -> Manifest:
    """Bring a backup back into the folders of `config`, which must be empty; return what was in it.

    Everything is read and compared with its digest before anything is put in place. Raises Refused for a backup of a newer
    version, a folder that holds something, and a file that is damaged.
    """
    manifest = read_manifest(file)
    _check_version(manifest, file)
    here = "sqlite" if isinstance(config.place, Path) else "postgresql"
    if manifest.database != here:
        raise Refused(
            f"{file} is of a server with {manifest.database}, and server.toml names a database of {here}: write [database] as it "
            "was there"
        )
    targets = {"data": config.data, "repository": config.repository, "keys": config.keys}
    if config.identity is not None:
        targets["identity"] = config.identity.folder
    parts = {PurePosixPath(name).parts[0] for name in manifest.files if "/" in name}
    if missing := sorted(parts - set(targets)):
        raise Refused(
            f"the backup holds {missing[0]}, and server.toml names no folder for it: add [{missing[0]}] folder"
        )
    for part in sorted(parts):
        if targets[part].is_dir() and any(targets[part].iterdir()):
            raise Refused(f"{targets[part]} is not empty, and a restore overwrites nothing: move it away first")
    config.data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".edgefleet-restore-", dir=config.data.parent) as place:
        folder = Path(place)
        _unpack(file, manifest, folder)
        if here == "sqlite" and (problems := copying.faults(folder / DATABASE)):
            raise Refused(f"the database in {file} is damaged: {problems[0]}")
        for part in sorted(parts):
            _put(folder / part, targets[part])
    return manifest


def _check_version(manifest: Manifest, file: Path) -> None:
    if (
        manifest.format > FORMAT
        or manifest.form not in copying.own_forms()
        or _numbers(manifest.version) > _numbers(__version__)
    ):
        raise Refused(_newer(file, manifest.version, f"database {manifest.form}"))


def _newer(file: Path, version: str, what: str) -> str:
    return (
        f"{file} is of EdgeFleet {version} ({what}), newer than this one, {__version__}: install that version, and restore "
        "with it"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int("".join(letter for letter in part if letter.isdigit()) or 0) for part in version.split(".")[:3])


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _is_secret(path: Path) -> bool:
    return path.name.endswith(SECRETS)


def _copy(source: Path, target: Path, *, keys: bool) -> list[str]:
    """Copy files; return the names of those of private keys that were left out."""
    left_out = []
    for path in sorted(_files(source)):
        name = path.relative_to(source)
        if _is_secret(path) and not keys:
            left_out.append(f"{target.name}/{name.as_posix()}")
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target / name)
    return left_out


def _copy_repository(source: Path, target: Path) -> str:
    """Copy it so that it holds together, whoever signs meanwhile; return the fleet's name.

    timestamp.json names all the rest, so it is copied first: what it names is there, and what comes later is only more.
    """
    fault: Exception | None = None
    for _ in range(TRIES):
        shutil.rmtree(target, ignore_errors=True)
        try:
            (target / "metadata").mkdir(parents=True)
            first = "metadata/timestamp.json"
            shutil.copy2(source / first, target / first)
            for path in sorted(_files(source)):
                name = path.relative_to(source)
                if name.as_posix() != first and not name.name.endswith((".lock", ".tmp")):
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target / name)
            copied = Repository(target)
            copied.current()
            return copied.fleet
        except (TrustError, OSError) as error:  # somebody published between two files
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise ServerError(
                    f"a backup cannot be written below {target.parent.parent}: {error.strerror}"
                ) from error
            fault = error
            time.sleep(0.2)
    raise ServerError(f"the repository {source} could not be copied whole: {fault}. See: edgefleet trust status")


def _row(path: Path) -> FileRow:
    with path.open("rb") as file:
        return FileRow(
            hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size, path.stat().st_mode & 0o777
        )


def _pack(folder: Path, manifest: Manifest, out: Path) -> None:
    part = folder.parent / f".{out.name}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                said = msgspec.json.format(msgspec.json.encode(asdict(manifest)))
                info = tarfile.TarInfo(MANIFEST)
                info.size, info.mtime, info.mode = len(said), int(manifest.made_s), 0o600
                archive.addfile(info, io.BytesIO(said))
                for name, row in manifest.files.items():
                    info = tarfile.TarInfo(name)
                    info.size, info.mtime, info.mode = row.bytes, int(manifest.made_s), row.mode
                    with (folder / name).open("rb") as data:
                        archive.addfile(info, data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(out)
    finally:
        part.unlink(missing_ok=True)


def _unpack(file: Path, manifest: Manifest, folder: Path) -> None:
    """Write its files below `folder`; raise Refused for one that is missing, is more, or differs from its digest."""
    seen = set()
    try:
        with tarfile.open(file) as archive:
            for info in archive:
                if info.name == MANIFEST:
                    continue
                row = manifest.files.get(info.name)
                if (
                    row is None
                    or not info.isreg()
                    or ".." in PurePosixPath(info.name).parts
                    or info.name.startswith("/")
                ):
                    raise Refused(f"{file} holds {info.name!r}, which its manifest does not name: it was tampered with")
                if info.size != row.bytes or info.size > MOST_BYTES:
                    raise Refused(f"{info.name} in {file} has {info.size} bytes, and its manifest says {row.bytes}")
                target = folder / info.name
                target.parent.mkdir(parents=True, exist_ok=True)
                data = archive.extractfile(info)
                assert data is not None
                with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, row.mode & 0o777), "wb") as out:
                    shutil.copyfileobj(data, out)
                if _row(target).sha256 != row.sha256:
                    raise Refused(f"{info.name} in {file} is not what its manifest says: the file is damaged")
                seen.add(info.name)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise Refused(f"{file} is damaged: {error}") from error
    if missing := sorted(set(manifest.files) - seen):
        raise Refused(f"{file} is damaged: {missing[0]} is missing")


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target.rmdir()  # it is empty: that was looked at
    shutil.move(source, target)
