"""What a board is, read from files alone, and nothing that is not there is made up."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from edgefleet_agent.hardware import samples
from edgefleet_agent.hardware.distributions import version
from edgefleet_agent.hardware.probe import HardwareProbe
from edgefleet_agent.hardware.runtimes import installed, opens, runtimes
from edgefleet_agent.hardware.samples.__main__ import main
from edgefleet_protocol.hardware import Hardware


def probe(name: str, state: Path) -> HardwareProbe:
    """Return a probe of the sample board called `name`."""
    return HardwareProbe(state, samples.path(name), samples.MACHINE)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder for the cache, in which the runtime is known, so that no test waits for it to be asked."""
    import platform
    import sys

    here = f"{installed()} {platform.python_version()} {sys.executable}"
    (tmp_path / "runtimes.json").write_text(json.dumps({"for": here, "providers": ["CPUExecutionProvider"]}))
    return tmp_path


def test_a_version_is_told_by_the_folder_that_an_installer_made(tmp_path: Path) -> None:
    for name in (
        "onnxruntime_gpu-1.23.2.dist-info",
        "Old.Name-8.5.egg-info",
        "eggs-2.0-py3.11.egg-info",
        "~nnxruntime-1.0.dist-info",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "onnxruntime").mkdir()
    path = (str(tmp_path / "none"), str(tmp_path))
    known = [version(name, path) for name in ("onnxruntime-gpu", "old-name", "eggs", "onnxruntime")]
    assert known == ["1.23.2", "8.5", "2.0", None]
    assert version("msgspec") == metadata.version("msgspec")


@pytest.mark.parametrize(
    ("name", "board", "cores", "memory_mb", "accelerator", "power_mode"),
    [
        ("pi-zero-2-w", "raspberrypi,model-zero-2-w", 4, 437, None, None),
        ("pi4", "raspberrypi,4-model-b", 4, 3978, None, None),
        ("pi5", "raspberrypi,5-model-b", 4, 8443, None, None),
        ("orin-nano", "nvidia,p3768-0000+p3767-0005", 6, 7990, "sm_87", "15W"),
    ],
)
def test_a_board_is_recognised(
    state: Path, name: str, board: str, cores: int, memory_mb: int, accelerator: str | None, power_mode: str | None
) -> None:
    found = probe(name, state).hardware()
    assert (found.hardware_class, found.board, found.arch) == (name, board, "aarch64")
    assert (found.cores, round(found.memory_bytes / 1e6)) == (cores, memory_mb)
    assert (found.accelerator, found.power_mode) == (accelerator, power_mode)
    assert found.storage_bytes > 0 and found.os and found.python


@pytest.mark.parametrize(
    ("name", "hardware_class", "board", "cores", "accelerator", "power_mode"),
    [
        ("pi3b", "pi3", "raspberrypi,3-model-b", 4, None, None),
        ("pi3b-plus", "pi3", "raspberrypi,3-model-b-plus", 4, None, None),
        ("pi3a-plus", "pi3", "raspberrypi,3-model-a-plus", 4, None, None),
        ("pi400", "pi4", "raspberrypi,400", 4, None, None),
        ("cm4", "pi4", "raspberrypi,4-compute-module", 4, None, None),
        ("cm5", "pi5", "raspberrypi,5-compute-module", 4, None, None),
        ("pi500", "pi5", "raspberrypi,500", 4, None, None),
        ("jetson-nano", "jetson-nano", "nvidia,p3449-0000-b00+p3448-0000-b00", 4, "sm_53", "MAXN"),
        ("tx2", "tx2", "nvidia,quill", 6, "sm_62", "MAXP_CORE_ARM"),
        ("xavier-nx", "xavier-nx", "nvidia,p3449-0000+p3668-0000", 6, "sm_72", "MODE_15W_6CORE"),
        ("agx-xavier", "agx-xavier", "nvidia,galen", 8, "sm_72", "MODE_15W"),
        ("orin-nx", "orin-nx", "nvidia,p3768-0000+p3767-0000", 8, "sm_87", "25W"),
        ("agx-orin", "agx-orin", "nvidia,p3737-0000+p3701-0000", 12, "sm_87", "MODE_30W"),
    ],
)
def test_every_other_board_of_the_targets_is_recognised(
    state: Path, name: str, hardware_class: str, board: str, cores: int, accelerator: str | None, power_mode: str | None
) -> None:
    found = probe(name, state).hardware()
    assert (found.hardware_class, found.board, found.cores) == (hardware_class, board, cores)
    assert (found.accelerator, found.power_mode) == (accelerator, power_mode)
    assert found.memory_bytes > 0 and found.features and found.os


def test_only_boards_whose_every_core_has_the_dot_product_are_said_to_have_it(state: Path) -> None:
    with_it = {name for name in samples.NAMES if "asimddp" in probe(name, state).hardware().features}
    assert with_it == {"pi5", "pi500", "cm5", "orin-nano", "orin-nx", "agx-orin"}


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("pi-zero-2-w", {"asimd", "crc32"}, {"asimddp", "asimdhp", "aes"}),
        ("pi4", {"asimd", "crc32"}, {"asimddp", "asimdhp", "aes"}),
        ("pi5", {"asimddp", "asimdhp", "aes"}, {"i8mm", "bf16", "sve"}),
        ("orin-nano", {"asimddp", "asimdhp", "flagm"}, {"i8mm", "bf16", "sve"}),
    ],
)
def test_instruction_sets_are_those_that_decide(state: Path, name: str, has: set[str], lacks: set[str]) -> None:
    features = set(probe(name, state).hardware().features)
    assert has <= features and not lacks & features


def test_only_what_every_core_has_counts(tmp_path: Path, state: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nFeatures\t: asimd asimddp sve\n\nprocessor\t: 1\nFeatures\t: asimd asimddp\n"
    )
    found = HardwareProbe(state, tmp_path, "aarch64").hardware()
    assert found.features == ("asimd", "asimddp") and found.cores == 2


def test_a_device_of_which_nothing_can_be_read_is_generic(tmp_path: Path, state: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    made = HardwareProbe(state, empty, "armv7l")
    found = made.hardware()
    assert found == Hardware(
        board="generic",
        hardware_class="generic-armv7l",
        arch="armv7l",
        storage_bytes=found.storage_bytes,
        python=found.python,
        runtimes=found.runtimes,
    )
    now = made.device_window()
    assert now.storage_free_bytes is not None and now.agent_memory_bytes is not None
    for lacking in ("cpu_percent", "memory_available_bytes", "temperature_c", "throttled", "power_w",
                    "battery_percent", "battery_charging"):  # fmt: skip
        assert getattr(now, lacking) is None, lacking
    assert made.memory_available_bytes() is None


def test_this_very_machine_can_be_read(tmp_path: Path) -> None:
    made = HardwareProbe(tmp_path / "not-made-yet")
    found = made.hardware()
    assert found.cores > 0 and found.memory_bytes > 0 and found.features and found.storage_bytes > 0
    (runtime,) = found.runtimes
    assert runtime.name == "onnxruntime" and "CPUExecutionProvider" in runtime.providers
    assert made.storage_free_bytes() > 0
    assert made.memory_available_bytes() is not None


def test_providers_are_asked_once_for_each_version(tmp_path: Path) -> None:
    first = runtimes(tmp_path)
    kept = json.loads((tmp_path / "runtimes.json").read_text())
    (tmp_path / "runtimes.json").write_text(json.dumps({**kept, "providers": ["Kept"]}))
    assert runtimes(tmp_path)[0].providers == ("Kept",)
    (tmp_path / "runtimes.json").write_text(json.dumps({**kept, "for": "another", "providers": ["Kept"]}))
    assert runtimes(tmp_path) == first
    (tmp_path / "runtimes.json").write_text("{torn")
    assert runtimes(tmp_path) == first


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.19.2", (10, 21)),
        ("1.22.1", (10, 21)),
        ("1.23.2", (11, 23)),
        ("1.32.0", (14, 28)),
        ("1.33.1", (14, 28)),
        ("1.20.0+cu124", (10, 21)),
        ("1.9.0", (8, 15)),
        ("odd", (8, 15)),
        ("2.0.0", (14, 28)),
    ],
)
def test_what_a_version_opens_is_never_promised_too_high(version: str, expected: tuple[int, int]) -> None:
    assert opens(version) == expected


def test_samples_can_be_copied_out_but_never_over_something(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "boards"), "--only", "pi5"]) == 0
    assert HardwareProbe(state, tmp_path / "boards/pi5", "aarch64").hardware().hardware_class == "pi5"
    assert main([str(tmp_path / "boards"), "--only", "pi5"]) == 1
    assert "is there already" in capsys.readouterr().err
    with pytest.raises(KeyError, match="there are agx-orin"):
        samples.path("pi9")
