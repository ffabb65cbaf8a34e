"""What the control agent takes of a device: memory at rest, processor at rest, disk without the runtime.

`agent_pss_mb` and `agent_uss_mb`: proportional and unique set size of `edgefleet agent run`, connected, its look at the
trust metadata done, no model wished; read when no other Python is alive, because the pages that two interpreters share
would be counted half. For that, this program becomes a shell while the agent runs.
`agent_idle_cpu_percent`: of one core, over the same rest.
`installed_mb`: files of a fresh environment with the agent and what it needs, without onnxruntime, numpy and pip.

Then a model is served, with ten requests a second and windows of a minute, by a real agent and a real Mosquitto:
`telemetry_mb_per_day`: what telemetry costs on a mobile link both ways: MQTT as it was sent, and 126 bytes for each packet of TLS, TCP and IP, reckoned.
`disk_mb_per_day`: what agent and worker wrote to storage, as the kernel counts it; `run` lies in memory, as on a device.
Both are of a real span of `span_s` seconds, two messages of five windows unless told otherwise, times what a day has of it.
`start_to_serving_s`: from the start of the agent's process to the first answer, with no broker to be reached; median of five.
`agent_pss_slope_mb`: by how much the agent's anonymous memory grows over 100,000 messages of all kinds, true, false and rubbish, after as many to
warm up: the median of the slopes between all readings.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgefleet_server.link.embedded import mosquitto_path

from . import _served
from ._report import report

REPOSITORY = Path(__file__).resolve().parent.parent

STARTS = 5

SHELL = """
"$PYTHON" -m edgefleet_agent run --config "$FOLDER/agent.toml" >"$FOLDER/agent.log" 2>&1 &
agent=$!
sleep "$SETTLE"
ticks() { awk '{print $14 + $15 + $16 + $17}' /proc/$agent/stat; }
before=$(ticks)
sleep "$REST"
after=$(ticks)
others=$(pgrep -c python || true)
awk -v before=$before -v after=$after -v rest="$REST" -v hertz=$(getconf CLK_TCK) -v others="$others" '
    /^Pss:/ {pss = $2} /^Private_(Clean|Dirty):/ {uss += $2}
    END {printf "{\\"pss_kb\\": %d, \\"uss_kb\\": %d, \\"cpu_percent\\": %f, \\"pythons\\": %d}\\n",
         pss, uss, (after - before) / hertz / rest * 100, others}' /proc/$agent/smaps_rollup >"$FOLDER/measured.json"
kill $agent; wait $agent 2>/dev/null
kill $BROKER 2>/dev/null
exec "$BENCH_PYTHON" -m benchmarks.footprint --report "$FOLDER" --batches "$BATCHES" --messages "$MESSAGES"
"""


def main() -> None:
    """Prepare, become a shell that measures, and come back to report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settle", type=float, default=20, help="seconds before measuring (default 20)")
    parser.add_argument("--rest", type=float, default=60, help="seconds over which rest is measured (default 60)")
    parser.add_argument(
        "--batches", type=int, default=2, help="of five minutes each, over which a day is reckoned (default 2)"
    )
    parser.add_argument("--messages", type=int, default=100_000, help="over which memory is watched (default 100,000)")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.report:
        _report(arguments.report, arguments.batches, arguments.messages)
        return
    folder = Path(tempfile.mkdtemp(prefix="footprint-"))
    python = _install(folder)
    broker = _fleet(folder)
    environment = {
        **os.environ,
        "PYTHON": str(python),
        "BENCH_PYTHON": sys.executable,
        "FOLDER": str(folder),
        "BROKER": str(broker),
        "SETTLE": str(arguments.settle),
        "REST": str(arguments.rest),
        "BATCHES": str(arguments.batches),
        "MESSAGES": str(arguments.messages),
    }
    os.execve("/bin/sh", ["/bin/sh", "-c", SHELL], environment)


def _install(folder: Path) -> Path:
    """Return the interpreter of a fresh environment that has the agent as a user installs it, not editable."""
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", "constraints.txt", "./protocol", "./agent"], check=True, cwd=REPOSITORY)
    python = environment / "bin/python"
    subprocess.run(
        [
            python,
            "-c",
            "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_paths()['purelib'], quiet=2)",
        ],
        check=True,
    )
    return python


def _fleet(folder: Path) -> int:
    """Make a fleet with trust metadata on a broker; return the broker's process id."""
    port = 18_831
    mosquitto = mosquitto_path()
    if mosquitto is None:
        sys.exit("Mosquitto is not installed: apt install mosquitto")
    (folder / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    broker = subprocess.Popen(
        [mosquitto, "-c", folder / "broker.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    (folder / "passphrase").write_text("measuring\n")
    (folder / "passphrase").chmod(0o600)
    os.environ["EDGEFLEET_PASSPHRASE_FILE"] = str(folder / "passphrase")
    repository, keys = folder / "repository", folder / "keys"
    _edgefleet(
        "trust",
        "init",
        "--repository",
        repository,
        "--keys",
        keys,
        "--fleet",
        "measured",
        "--region",
        "lab",
        "--yes-i-am-alone",
    )
    (folder / "server.toml").write_text(_server_toml(folder, port))
    server = subprocess.Popen([sys.executable, "-m", "edgefleet", "server", "run", "--config", folder / "server.toml"])
    (folder / "agent.toml").write_text(
        f'fleet = "measured"\ndevice = "device-1"\nstate = "{folder}/state"\nrun = "{folder}/run"\n'
        f'root = "{repository}/metadata/1.root.json"\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
    )
    url = "http://127.0.0.1:18832"
    deadline = time.monotonic() + 60
    assign = ["device", "assign", "device-1", "--region", "lab", "--server", url]
    while (
        subprocess.run([sys.executable, "-m", "edgefleet", *assign], capture_output=True, check=False).returncode != 0
    ):
        if time.monotonic() > deadline:
            sys.exit("the server did not come up within 60 s")
        time.sleep(0.5)
    time.sleep(3)  # until everything is retained; the agent then needs the broker alone
    server.terminate()
    server.wait()
    return broker.pid


def _server_toml(folder: Path, port: int) -> str:
    return (
        f'repository = "{folder}/repository"\nkeys = "{folder}/keys"\ndata = "{folder}/server"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\nopen = true\n[http]\nhost = "127.0.0.1"\nport = 18832\nopen = true\n'
    )


def _edgefleet(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "edgefleet", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def _report(folder: Path, batches: int, messages: int) -> None:
    said = (folder / "measured.json").read_text()
    if not said:
        sys.exit(f"the agent did not run: {(folder / 'agent.log').read_text()[-2000:]}")
    measured = json.loads(said)
    packages = next((folder / "venv/lib").iterdir()) / "site-packages"
    installed = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    for tool in ("pip", "setuptools"):
        for entry in packages.glob(f"{tool}*"):
            installed -= sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
    if measured["pythons"] > 1:
        print(
            f"{measured['pythons']} Pythons were alive: the memory figure is too good; look at agent_uss_mb",
            file=sys.stderr,
        )
    print((folder / "agent.log").read_text()[-500:], file=sys.stderr)
    shutil.rmtree(folder)
    report(
        "footprint",
        {
            "agent_pss_mb": measured["pss_kb"] * 1024 / 1e6,
            "agent_uss_mb": measured["uss_kb"] * 1024 / 1e6,
            "agent_idle_cpu_percent": measured["cpu_percent"],
            "installed_mb": installed / 1e6,
            **_served.measure(batches, messages, STARTS),
        },
    )


if __name__ == "__main__":
    main()
