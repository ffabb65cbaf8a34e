"""The device's arm64 packages on emulated processors: `make arm-lab`.

On each of Cortex-A53, A72, A76 and A78AE, in an arm64 Debian with the packages edgefleet-agent and edgefleet-runtime: the agent
knows the board that a faked device tree shows, chooses as the server's plan would, answers the golden inputs in a
trial and through the socket, and reports the faked battery, heat and power. With --fleet each also joins a fleet of a server and
a broker on this machine, and gets a signed release over MQTT. One line for each, then one JSON object; exit 0 only if all held.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_agent.hardware import samples
from edgefleet_agent.hardware.probe import HardwareProbe
from edgefleet_compress.errors import CompressError
from edgefleet_compress.package.variants import read
from edgefleet_protocol.choose import choose
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Policy

from . import packages
from .boards import HEAT_C, board
from .compress import example
from .container import prepared, run_inside
from .emulated import PROCESSORS, Processor
from .fetch import system, unpacked
from .places import LAB, LabError, run, say

GUEST = Path(__file__).with_name("guest.py")
OBJECTIVES = ("accuracy", "latency", "download", "memory")
PYTHON = "/usr/lib/edgefleet/bin/python3"
DONE, FAILED = 0, 1


@dataclass(frozen=True)
class Line:
    """One promise on one processor, and how it stands."""

    processor: str
    held: bool
    words: str


def main(argv: list[str]) -> int:
    """Run the lab; return 0 when everything held, else 1."""
    options = _parser().parse_args(argv)
    LAB.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    figures: dict[str, float] = {}
    try:
        folder = options.package or example()
        release, _ = read(folder)
        root = installed()
        processors = [one for one in PROCESSORS if not options.cpu or one.name in options.cpu]
        for processor in processors:
            try:
                said = asked(root, processor, folder)
                found = list(judged(processor, release, said))
                figures |= measured(processor, said)
            except (LabError, OSError) as error:
                found = [Line(processor.title, False, str(error))]
            lines += [told(line, options.json) for line in found]
        if options.fleet:
            lines += [told(in_a_fleet(root, one, folder, release), options.json) for one in processors]
    except (LabError, CompressError, OSError) as error:
        print(f"arm-lab: {error}", file=sys.stderr)
        return FAILED
    failed = [f"{line.processor}: {line.words}" for line in lines if not line.held]
    print(json.dumps({"held": len(lines) - len(failed), "failed": failed, "figures": figures}))
    return FAILED if failed else DONE


def told(line: Line, aside: bool) -> Line:
    """Print a line, beside standard output where that is for a program."""
    words = f"{'held' if line.held else 'FAILED':<7} {line.processor}: {line.words}"
    print(words, file=sys.stderr if aside else sys.stdout, flush=True)
    return line


def in_a_fleet(root: Path, processor: Processor, package: Path, release: Release) -> Line:
    """Return the line of an agent that joined a fleet with a real broker and server."""
    # Imported here: it wants Mosquitto, which the rest of the lab does not.
    from .fleet import OBJECTIVE, joined

    try:
        seen = joined(root, processor, package)
    except (AssertionError, RuntimeError) as error:
        with (LAB / "device.log").open("a") as log:
            log.write("\n".join([str(error), *getattr(error, "__notes__", ())]))
        return Line(processor.title, False, f"in a fleet: {error} ({LAB / 'device.log'})")
    plan = choose(release, _expected(processor), msgspec.convert({"objective": OBJECTIVE}, Policy)).taken
    variant, kind = seen["model"]["variant"], seen["document"]["hardware"]["hardware_class"]
    battery, heat = seen["battery_percent"], seen["temperature_c"]
    planned = plan is not None and variant == plan.name
    return Line(
        processor.title,
        planned and (battery, heat) == (63.0, HEAT_C),
        f"in a fleet: known as {kind}, verified and fetched {seen['release']} over MQTT, and serves {variant} of it, "
        + ("as planned" if planned else f"and not {plan.name if plan else 'none'}"),
    )


def installed() -> Path:
    """Return an arm64 system with the device's packages in it, fresh where a package is newer than it."""
    debs = [packages.built("agent"), packages.built("runtime")]
    root, stamp = LAB / "device", LAB / "device.key"
    key = " ".join(f"{deb.name} {deb.stat().st_mtime_ns}" for deb in debs)
    if not (stamp.is_file() and stamp.read_text() == key):
        stamp.unlink(missing_ok=True)
        base = system()
        say("unpacking the device's packages")
        run(["rm", "-rf", str(root)])
        run(["cp", "-a", str(base), str(root)])
        for deb in debs:
            unpacked(deb, root)
        stamp.write_text(key)
    return root


def asked(root: Path, processor: Processor, package: Path) -> dict[str, Any]:
    """Return what the guest says on `processor`, of a board with faked sensors."""
    say(f"{processor.title}, as in {processor.boards}")
    prepared(root, processor)
    for name in ("board", "package"):
        run(["rm", "-rf", str(root / name)])
    board(root / "board", processor)
    shutil.copytree(package, root / "package")
    shutil.copy2(GUEST, root / "lab")
    words = [PYTHON, "/lab/guest.py", "/board", "/package", ",".join(OBJECTIVES)]
    said: dict[str, Any] = json.loads(run_inside(root, processor, words, LAB / "device.log"))
    return said


def judged(processor: Processor, release: Release, said: dict[str, Any]) -> Iterator[Line]:
    """Yield the lines of one processor."""

    def line(held: bool, words: str) -> Line:
        return Line(processor.title, held, words)

    hardware, expected = said["hardware"], _expected(processor)
    runtime = ", ".join(f"{row['name']} {row['version']}" for row in hardware["runtimes"]) or "no runtime"
    same = (hardware["hardware_class"], hardware["arch"]) == (expected.hardware_class, "aarch64")
    yield line(
        same and said["machine"] == "aarch64" and bool(hardware["runtimes"]),
        f"the agent knows its board: {hardware['board']}, class {hardware['hardware_class']}, {hardware['arch']}, {runtime}",
    )
    for objective in OBJECTIVES:
        mine = said["chosen"][objective]
        plan = choose(release, expected, msgspec.convert({"objective": objective}, Policy)).taken
        wanted = plan.name if plan else None
        yield line(
            mine["variant"] == wanted and wanted is not None,
            f"chooses {mine['variant']} for {objective} ({mine['why']})"
            + ("" if mine["variant"] == wanted else f"; the plan says {wanted}"),
        )
    excluded = said["chosen"]["accuracy"]["excluded"]
    wrongly = [
        variant.name
        for variant in release.variants
        if any(feature not in hardware["features"] for feature in variant.requires.features)
        != ("which this CPU lacks" in excluded.get(variant.name, ""))
    ]
    dot = "asimddp" in hardware["features"]
    words = "; ".join(f"{name} {why}" for name, why in excluded.items()) or "no variant is left out"
    yield line(
        not wrongly and dot == ("asimddp" in expected.features),
        f"{'has' if dot else 'lacks'} the dot product, and so: {words}",
    )
    for name, report in said["tried"].items():
        yield line(report["ok"], f"trial of {name}: {report['reason']}")
    served = said.get("served", {})
    yield line(
        served.get("why_not", "nothing was served") is None,
        f"serves {served.get('variant')}: "
        + (served.get("why_not") or f"{served.get('requests')} requests through its socket, answers as in the release"),
    )
    yield line(
        bool(served.get("memory_bytes")) and bool(said["bare_python_bytes"]),
        f"memory: the worker {_mb(served.get('memory_bytes'))}, of which {_mb(said['bare_python_bytes'])} are those of a bare "
        "Python in the emulator",
    )
    network = said["limits"]["network"]
    yield line(not network.startswith("none"), f"workers have no network: {network}")
    service = said["service"]
    sensed = next((row["words"] for row in service.get("check", ()) if row["name"] == "sensors"), "")
    yield line(
        service.get("exit_code") == 0 and bool(service.get("memory_bytes")),
        "the service: "
        + (
            service.get("why_not")
            or f"runs, without a broker, in {_mb(service['memory_bytes'])}, and ends in good order"
        ),
    )
    yield line(
        "battery_percent" in sensed and "temperature_c" in sensed,
        f"edgefleet agent check: sensors: {sensed or 'nothing'}",
    )
    window = said["window"]
    yield line(
        (window.get("battery_percent"), window.get("battery_charging")) == (63.0, False),
        f"battery: {window.get('battery_percent')} %, {'charging' if window.get('battery_charging') else 'discharging'}",
    )
    watts = HardwareProbe(LAB, samples.path(processor.sample), "aarch64", keep=False).device_window().power_w
    measured_w, source = window.get("power_w"), window.get("power_source")
    yield line(
        window.get("temperature_c") == HEAT_C and (watts is None or measured_w == watts),
        f"sensors: {window.get('temperature_c')} °C, "
        + (f"{measured_w:.2f} W by {source}" if measured_w is not None else "no power sensor on this board"),
    )


def measured(processor: Processor, said: dict[str, Any]) -> dict[str, float]:
    """Return figures of one processor, by name."""
    short = processor.name.removeprefix("cortex-")
    served = said.get("served", {})
    return {
        f"{short}_worker_mb": (served.get("memory_bytes") or 0) / 1e6,
        f"{short}_service_mb": (said["service"].get("memory_bytes") or 0) / 1e6,
        f"{short}_bare_python_mb": (said["bare_python_bytes"] or 0) / 1e6,
    }


def _expected(processor: Processor) -> Any:
    """Return the hardware that the board's own files say, as this machine reads them, with the runtime that it has itself."""
    with tempfile.TemporaryDirectory(prefix="arm-lab-") as folder:
        return HardwareProbe(Path(folder), samples.path(processor.sample), "aarch64", keep=False).hardware()


def _mb(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e6:.0f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='make arm-lab ARGS="…"',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 everything held, 1 something did not, 2 usage",
    )
    parser.add_argument("package", type=Path, nargs="?", help="a folder that edgefleet compress made (the example's)")
    parser.add_argument(
        "--cpu", choices=[one.name for one in PROCESSORS], action="append", help="may be given again (all)"
    )
    parser.add_argument(
        "--fleet", action="store_true", help="let each join a fleet too, with a server and Mosquitto on this machine"
    )
    parser.add_argument(
        "--json", action="store_true", help="the JSON object alone on standard output, lines on standard error"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
