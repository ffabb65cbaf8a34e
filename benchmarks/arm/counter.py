"""The emulator that counts instructions: QEMU with plugins, which no package of Debian has, built from Debian's source once."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .fetch import Apt, check_tools
from .places import LAB, LabError, made, run, say

SOURCE = Path(__file__).with_name("counter.c")
MARK = 0x0EDFEE75
"""Of counter.c: what the guest asks getpgid about where counting begins and ends."""
NEEDS = {"gcc": "gcc", "ninja": "ninja-build", "pkg-config": "pkg-config", "dpkg-deb": "dpkg"}
OPTIONS = (
    "--target-list=aarch64-linux-user", "--enable-plugins", "--disable-system", "--disable-tools", "--disable-docs",
    "--without-default-features", "--enable-tcg", "--disable-install-blobs",
)  # fmt: skip


@dataclass(frozen=True)
class Counter:
    """An emulator with plugins, and the plugin."""

    emulator: Path
    plugin: Path


def found() -> Counter | None:
    """Return the counter if it was built, its plugin made anew when its source changed."""
    emulator = LAB / "counter" / "qemu-aarch64"
    if not emulator.is_file():
        return None
    return Counter(emulator, _plugin(emulator.with_name("include")))


def build(suite: str = "trixie") -> Counter:
    """Build what is not there yet and return it: 15 minutes of two cores, 600 MB meanwhile and 35 MB that stay."""
    missing = sorted(package for tool, package in NEEDS.items() if shutil.which(tool) is None)
    if subprocess.run(["pkg-config", "--exists", "glib-2.0"], check=False).returncode != 0:
        missing.append("libglib2.0-dev")
    if missing:
        raise LabError(f"to build the counter, these are missing: apt-get install {' '.join(missing)}")

    def compile_(folder: Path) -> None:
        check_tools()
        work, log = LAB / "counter-build", LAB / "counter.log"
        work.mkdir(exist_ok=True)
        if not list(work.glob("qemu_*.orig.tar.*")):
            say("fetching QEMU's source (40 MB)")
            _fetch(suite, work, log)
        if not list(work.glob("qemu-*/configure")):
            run(["tar", "-x", "-f", str(next(work.glob("qemu_*.orig.tar.*")))], cwd=work, log=log)
        source = next(work.glob("qemu-*/configure")).parent
        tools = work / "tools"
        if not (tools / "bin/meson").is_file():
            run([sys.executable, "-m", "venv", str(tools)], log=log)
            run([str(tools / "bin/pip"), "install", "--quiet", "meson", "distlib", "pycotap"], log=log)
        building = source / "build"
        building.mkdir(exist_ok=True)
        path = {"PATH": f"{tools}/bin:{os.environ['PATH']}"}
        if not (building / "build.ninja").is_file():
            say("configuring QEMU")
            run(["../configure", f"--python={tools}/bin/python", *OPTIONS], cwd=building, log=log, env=path)
        say(f"compiling QEMU, a quarter of an hour or so; its words are in {log}")
        run(["ninja", "qemu-aarch64"], cwd=building, log=log, env=path)
        shutil.copy2(building / "qemu-aarch64", folder)
        (folder / "include").mkdir()
        header = next(source.glob("include/qemu/qemu-plugin.h"), None) or next(source.rglob("qemu-plugin.h"))
        shutil.copy2(header, folder / "include")
        shutil.rmtree(work)

    where = made(LAB / "counter", "1", compile_, "building the emulator that counts")
    return Counter(where / "qemu-aarch64", _plugin(where / "include"))


def _fetch(suite: str, work: Path, log: Path) -> None:
    apt = Apt(suite, "source", kind="deb-src")
    try:
        apt.get("source", "--download-only", "--tar-only", "qemu", cwd=work)
    except LabError as error:
        # A mirror may lack the description beside the tarball, which is what counts.
        if not list(work.glob("qemu_*.orig.tar.*")):
            raise LabError(f"QEMU's source could not be had: {error}") from error


def _plugin(include: Path) -> Path:
    """Return the compiled plugin, of the present source."""
    target = include.with_name(f"counter-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so")
    if not target.is_file():
        flags = subprocess.run(["pkg-config", "--cflags", "glib-2.0"], capture_output=True, text=True, check=True)
        beside = target.with_suffix(".new")
        words = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", f"-I{include}", *flags.stdout.split(), str(SOURCE)]
        run([*words, "-o", str(beside)])
        beside.rename(target)
    return target
