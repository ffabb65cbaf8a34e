"""An arm64 system on an emulated processor, in namespaces of its own: every program that is started inside runs there.

The kernel hands arm64 programs to the emulator by binfmt_misc, which a user namespace has for itself since Linux 6.7: nothing
outside changes, and no root rights are needed.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .emulated import Processor
from .fetch import Apt, emulator, own_architecture, unpacked
from .places import LAB, LabError, listened, made

LAB_INSIDE = "lab"
MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
"""An ELF file of 64 bits for AArch64, a program or a library that is one; the ABI's byte may be any."""
ENTER = f"""
set -eu
root=$1 start=$2 folder=$3; shift 3
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' ':arm64:M::{MAGIC}:{MASK}:/{LAB_INSIDE}/'"$start:P" >/proc/sys/fs/binfmt_misc/register
mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for place in tmp run; do mount -t tmpfs tmpfs "$root/$place"; done
if [ -n "$folder" ]; then mkdir -p "$root$folder"; mount --rbind "$folder" "$root$folder"; fi
exec "$@"
"""


def prepared(root: Path, processor: Processor) -> None:
    """Put the emulator into `root`, with what starts it as `processor`.

    It is a script, because a worker gets no environment that could name the processor; and its shell is one static file,
    because the shell of the system inside is itself a program for Arm.
    """
    inside = root / LAB_INSIDE
    inside.mkdir(exist_ok=True)
    for name, file in ((f"emulator-{processor.suite}", emulator(processor.suite)), ("sh", _shell())):
        # A file that some process of an interrupted run still executes can be replaced and not written.
        (inside / name).unlink(missing_ok=True)
        shutil.copy2(file, inside / name)
    start = inside / f"start-{processor.name}"
    start.write_text(
        f"#!/{LAB_INSIDE}/sh\nprogram=$1 name=$2\nshift 2\n"
        f'exec /{LAB_INSIDE}/emulator-{processor.suite} -cpu {processor.name} -0 "$name" "$program" "$@"\n'
    )
    start.chmod(0o755)


def command(root: Path, processor: Processor, words: Sequence[str], folder: Path | None = None) -> list[str]:
    """Return the command that runs `words` in `root` on `processor`, which was prepared. folder: seen inside too, by its own name.

    It wants `environment()`, and all that it started ends with it.
    """
    for tool, package in (("unshare", "util-linux"), ("chroot", "coreutils")):
        if shutil.which(tool, path=_path()) is None:
            raise LabError(f"{tool} is missing: apt-get install {package}")
    enter = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        ENTER,
        "sh",
    ]
    return [*enter, str(root), f"start-{processor.name}", str(folder or ""), "chroot", str(root), *words]


def environment() -> dict[str, str]:
    """Return the environment of what runs inside: nothing of this machine's but the path."""
    return {"PATH": _path(), "LANG": "C.UTF-8", "HOME": "/root", "OPENBLAS_NUM_THREADS": "1"}


def run_inside(root: Path, processor: Processor, words: Sequence[str], log: Path) -> str:
    """Run `words` inside and return what it printed; its errors are shown and go to `log`. Raises LabError."""
    code, said, last = listened(command(root, processor, words), log, environment())
    if code != 0:
        hint = ""
        if "binfmt_misc" in last or "unshare" in last:
            hint = " (namespaces of users with a binfmt_misc of their own need Linux 6.7, and must be allowed)"
        raise LabError(f"inside, {words[0]} ended with {code}: {last}{hint} ({log})")
    return said


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"


def _shell() -> Path:
    def fetch(folder: Path) -> None:
        Apt("trixie", own_architecture()).get("download", "busybox-static", cwd=folder)
        deb = next(folder.glob("*.deb"))
        unpacked(deb, folder)
        deb.unlink()

    return made(LAB / "shell", "1", fetch, "fetching a static shell (1 MB)") / "usr/bin/busybox"
