"""The class of a board, from what its device tree says."""

import pytest

from edgefleet_protocol.hardware import class_of
from tests.protocol.sample import device


@pytest.mark.parametrize(
    ("compatible", "arch", "hardware_class"),
    (
        (("raspberrypi,model-zero-2-w", "brcm,bcm2837"), "aarch64", "pi-zero-2-w"),
        (("raspberrypi,3-model-b-plus", "brcm,bcm2837"), "aarch64", "pi3"),
        (("raspberrypi,4-model-b", "brcm,bcm2711"), "aarch64", "pi4"),
        (("raspberrypi,4-compute-module", "brcm,bcm2711"), "aarch64", "pi4"),
        (("raspberrypi,400", "brcm,bcm2711"), "aarch64", "pi4"),
        (("raspberrypi,5-model-b", "brcm,bcm2712"), "aarch64", "pi5"),
        (("raspberrypi,500", "brcm,bcm2712"), "aarch64", "pi5"),
        (("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"), "aarch64", "orin-nano"),
        (("nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234"), "aarch64", "orin-nano"),
        (("nvidia,p3768-0000+p3767-0000", "nvidia,tegra234"), "aarch64", "orin-nx"),
        (("nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"), "aarch64", "agx-orin"),
        (("somebody,board", "raspberrypi,4-model-b"), "aarch64", "pi4"),
        (("somebody,board",), "riscv64", "generic-riscv64"),
        ((), "x86_64", "generic-x86-64"),
    ),
)
def test_a_board_has_the_class_of_its_first_known_name(compatible, arch, hardware_class):
    assert class_of(compatible, arch) == hardware_class


def test_a_runtime_is_found_by_its_name():
    hardware = device()
    assert hardware.runtime("onnxruntime") is hardware.runtimes[0]
    assert hardware.runtime("other") is None
