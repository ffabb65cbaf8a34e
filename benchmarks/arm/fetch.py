"""What the lab takes from Debian, as any user: emulators as single static files, and an arm64 system unpacked into a folder.

apt works on lists of its own, so the machine's sources stay as they are. The packages are unpacked and not configured:
configuring them under emulation takes most of an hour, and Python needs none of it.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .places import LAB, LabError, made, run, say

MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
IN_THE_ROOT = ("python3", "libstdc++6", "dash", "coreutils")
"""What the device's packages depend on, and a shell; apt adds what these need."""
LINKS = ("bin", "sbin", "lib")
"""Debian 12 has these below /usr, and links that its installer makes."""


@dataclass(frozen=True)
class Apt:
    """apt with lists and a cache of its own below .arm-lab/apt."""

    suite: str
    arch: str
    kind: str = "deb"

    @property
    def folder(self) -> Path:
        """Where its lists and what it fetched lie."""
        return LAB / "apt" / f"{self.kind}-{self.suite}-{self.arch}"

    def options(self) -> list[str]:
        """Return what makes apt-get look at nothing else."""
        for part in ("lists/partial", "cache/archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "list").write_text(
            f"{self.kind} [arch={self.arch} signed-by={KEYRING}] {MIRROR} {self.suite} main\n"
        )
        said = {
            "APT::Architecture": self.arch,
            "APT::Architectures": self.arch,
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
            "Dir::Etc::sourcelist": str(self.folder / "list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": str(self.folder / "lists"),
            "Dir::State::status": str(self.folder / "status"),
            "Dir::Cache": str(self.folder / "cache"),
        }
        return [word for name, value in said.items() for word in ("-o", f"{name}={value}")]

    def get(self, *words: str, cwd: Path | None = None) -> None:
        """Run apt-get, with lists that are there once."""
        options, log = self.options(), LAB / "apt.log"
        if not any((self.folder / "lists").glob("*_InRelease")):
            run(["apt-get", *options, "update"], log=log)
        run(["apt-get", *options, *words], cwd=cwd, log=log)


def check_tools() -> None:
    """Raise LabError where apt, dpkg or Debian's keys are missing."""
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            raise LabError(f"{tool} is missing: the lab runs on Debian and what is made from it")
    if not KEYRING.is_file():
        raise LabError(f"{KEYRING} is missing: apt-get install debian-archive-keyring")


def emulator(suite: str) -> Path:
    """Return the static qemu-aarch64 of a suite of Debian."""

    def fetch(folder: Path) -> None:
        check_tools()
        Apt(suite, own_architecture()).get("download", "qemu-user", cwd=folder)
        for deb in folder.glob("qemu-user_*.deb"):
            files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x", "-C", str(folder), "./usr/bin/qemu-aarch64"], input=files, check=True)
            deb.unlink()

    where = made(LAB / f"qemu-{suite}", "1", fetch, f"fetching the emulator of Debian {suite} (25 MB)")
    return where / "usr/bin/qemu-aarch64"


def system(suite: str = "bookworm") -> Path:
    """Return the folder of an arm64 Debian with Python."""

    def unpack(folder: Path) -> None:
        check_tools()
        apt = Apt(suite, "arm64")
        apt.get("-y", "--no-install-recommends", "--download-only", "install", *IN_THE_ROOT)
        for name in LINKS:
            (folder / "usr" / name).mkdir(parents=True)
            (folder / name).symlink_to(f"usr/{name}")
        for deb in sorted((apt.folder / "cache/archives").glob("*.deb")):
            unpacked(deb, folder)
        for name in ("tmp", "proc", "sys", "dev", "run"):
            (folder / name).mkdir(exist_ok=True)
        (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (folder / "etc/group").write_text("root:x:0:\n")

    return made(LAB / f"root-{suite}", " ".join(IN_THE_ROOT), unpack, f"unpacking an arm64 Debian {suite} (20 MB)")


def unpacked(deb: Path, folder: Path) -> None:
    """Unpack a package's files into `folder`, through the links that are there."""
    files = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True).stdout
    subprocess.run(
        ["tar", "-x", "-C", str(folder), "--keep-directory-symlink", "--no-same-owner"], input=files, check=True
    )


def own_architecture() -> str:
    said = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


if __name__ == "__main__":
    for each in ("trixie", "sid"):
        say(str(emulator(each)))
    say(str(system()))
