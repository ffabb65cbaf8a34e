"""`python -m tests.attacks.onnx_device FOLDER`: the device's steps with each hostile file, on the runtime that is installed.

Runs in an environment that holds the agent as a device has it. Prints one JSON object: the runtime's version, and for each case
what the assembly, the trial and (asked alone, in a bounded process) the runtime itself say.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from edgefleet_agent.errors import BadAssembly
from edgefleet_agent.seams import WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_agent.store import Store
from edgefleet_agent.store.disk import Disk
from edgefleet_protocol.chunks import cut_file, unpack
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.manifest import FileEntry, Release
from tests.attacks.onnx_cases import SECRET, Case, cases, honest
from tests.fakes.package import make_release

WALL_S, CPU_S, MEMORY = 60.0, 6, 250_000_000
MODEL = "one/model.onnx"
ALONE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); resource.setrlimit(resource.RLIMIT_CPU, (6, 6))
import numpy, onnxruntime
options = onnxruntime.SessionOptions(); options.log_severity_level = 4; options.intra_op_num_threads = 1
try:
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": numpy.ones((1, 4), "f4")})[0]
except BaseException as error:
    print("refused:", type(error).__name__)
else:
    print("ran:", found.ravel()[:3].tolist())
"""


def release_of(case: Case) -> tuple[Release, dict[str, bytes]]:
    """Return a release, cut, whose one variant is the case's model."""
    release, files = make_release("fashion", ("one",))
    files[MODEL] = case.model
    files |= {f"one/{name}": data for name, data in case.beside.items()}
    variant = msgspec.structs.replace(
        release.variants[0],
        files=(MODEL, *(f"one/{name}" for name in case.beside)),
        bytes=len(case.model) + sum(map(len, case.beside.values())),
    )
    entries = tuple(
        FileEntry(
            name=name,
            bytes=len(data),
            sha256=sha256_hex(data),
            chunks=tuple(chunk for chunk, _ in cut_file(name, data)),
        )
        for name, data in files.items()
    )
    return msgspec.structs.replace(release, version=1, variants=(variant,), files=entries), files


def assembled(case: Case, folder: Path) -> str:
    """Return `refused: …`, or `assembled`, and what the modes of its files are."""
    release, files = release_of(case)
    (folder / "state").mkdir(parents=True)
    store = Store(Disk(), folder / "state")
    for name, data in files.items():
        for chunk, payload in cut_file(name, data):
            store.chunks.add(chunk.sha256, unpack(payload, chunk))
    try:
        slot = store.releases.assemble(release, "ab" * 32, release.variants[0], store.chunks)
    except BadAssembly as error:
        return f"refused: {error}"
    modes = {
        oct(path.lstat().st_mode & 0o7777) for path in store.releases.path("fashion", slot).rglob("*") if path.is_file()
    }
    return f"assembled, modes {' '.join(sorted(modes))}"


def laid_out(case: Case, folder: Path) -> WorkerSpec:
    """Write a case as a device would have it had its guard let it pass, with the attacker's links beside it."""
    release, files = release_of(case)
    for name, data in files.items():
        path = folder / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    outside = folder / "m" / "secret.bin"
    outside.write_bytes(SECRET)
    beside = folder / "m/one"
    if case.name == "symlink":
        (beside / "link.bin").symlink_to("../secret.bin")
    elif case.name == "symlinked folder":
        (folder / "elsewhere").mkdir()
        shutil.copy(outside, folder / "elsewhere/secret.bin")
        (beside / "linked").symlink_to("../../elsewhere")
    elif case.name == "hard link":
        os.link(outside, beside / "hard.bin")
    variant = release.variants[0]
    return WorkerSpec(
        model="fashion",
        release=release.name,
        release_sha256="ab" * 32,
        variant=variant.name,
        variant_sha256=sha256_hex(case.model),
        runtime="onnxruntime",
        provider="CPUExecutionProvider",
        model_path=folder / "m" / MODEL,
        interface=release.interface,
        memory_limit_bytes=MEMORY,
        cpu_limit_s=CPU_S,
        golden_folder=folder / "m",
        golden_inputs=release.golden_inputs,
        golden=variant.golden,
    )


def tried(launcher: ProcessLauncher, spec: WorkerSpec) -> str:
    """Return how the trial ended, and how its limits were held."""
    trial = launcher.try_out(spec, WALL_S)
    while (report := trial.poll()) is None:
        time.sleep(0.02)
    return f"{'passed' if report.ok else 'failed'}: {report.reason}"


def alone(spec: WorkerSpec) -> str:
    """Return what the runtime does when nobody guards it: this shows what the guard is for."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(spec.model_path)], capture_output=True, text=True, timeout=120
    )
    return done.stdout.strip() if done.returncode == 0 else f"died: {-done.returncode}"


def main(folder: Path) -> None:
    """Take every case through the device's steps."""
    import onnxruntime

    (folder / "outside").mkdir()
    (folder / "outside/secret.bin").write_bytes(SECRET)
    launcher = ProcessLauncher(folder / "run")
    rows = []
    for number, case in enumerate([*honest(), *cases(folder / "outside")]):
        place = folder / f"c{number}"
        spec = laid_out(case, place)
        row = {
            "name": case.name,
            "static": case.static,
            "assembly": assembled(case, place),
            "trial": tried(launcher, spec),
        }
        rows.append(row | {"alone": alone(spec) if case.static else ""})
    limits = launcher.limits_held()
    launcher.close()
    print(json.dumps({"version": onnxruntime.__version__, "limits": limits, "rows": rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
