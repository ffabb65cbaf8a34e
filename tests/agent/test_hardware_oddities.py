"""What is odd about a system is named where the kernel says it, and an ordinary system is not warned of."""

from pathlib import Path

import pytest

from edgefleet_agent.hardware.oddities import narrow_userland, oddities, state_that_goes

STATE = Path("/var/lib/edgefleet")
CARD = "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n"
PI_OVERLAY = "overlay / overlay rw,relatime,lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work 0 0\n"
CONTAINER = "overlay / overlay rw,lowerdir=/a:/b,upperdir=/var/lib/c/diff,workdir=/var/lib/c/work 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "cmdline", "warned"),
    [
        (CARD, "console=tty1 root=/dev/mmcblk0p2", None),
        (PI_OVERLAY, "boot=overlay root=/dev/mmcblk0p2", "overlay in memory"),
        (PI_OVERLAY, "overlayroot=tmpfs:recurse=0 root=/dev/sda1", "overlay in memory"),
        (PI_OVERLAY + "tmpfs /upper tmpfs rw 0 0\n", "", "overlay in memory"),
        (PI_OVERLAY + "/dev/mmcblk0p3 /var/lib/edgefleet ext4 rw 0 0\n", "boot=overlay", None),
        (CONTAINER, "quiet", None),
        (CARD + "tmpfs /var tmpfs rw,size=64m 0 0\n", "", "tmpfs at /var"),
        (CARD + "tmpfs /va tmpfs rw 0 0\n", "", None),
        (CARD + "tmpfs /var\\040x tmpfs rw 0 0\n", "", None),
        ("", "", None),
        ("torn\n", "", None),
    ],
)
def test_state_that_a_reboot_takes_is_named(mounts: str, cmdline: str, warned: str | None) -> None:
    words = state_that_goes(mounts, cmdline, STATE)
    assert (words is None) == (warned is None) and (warned or "") in (words or "")


@pytest.mark.parametrize(
    ("arch", "bits", "warned"),
    [("aarch64", 64, False), ("aarch64", 32, True), ("armv7l", 32, False), ("x86_64", 64, False), ("x86_64", 32, True)],
)
def test_a_32_bit_userland_on_a_64_bit_kernel_is_named(arch: str, bits: int, warned: bool) -> None:
    words = narrow_userland(arch, bits)
    assert (words is not None) == warned
    assert words is None or (arch in words and "32 bits" in words)


def test_a_root_without_the_files_is_not_warned_of(tmp_path: Path) -> None:
    assert oddities(tmp_path, STATE, "aarch64") == ()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text("tmpfs / tmpfs rw 0 0\n")
    assert len(oddities(tmp_path, STATE, "aarch64")) == 1
