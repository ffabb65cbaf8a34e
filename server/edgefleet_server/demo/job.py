"""The job itself, act by act."""

import json
from collections.abc import Callable
from pathlib import Path

from edgefleet_protocol.codec import decode
from edgefleet_protocol.manifest import Release

from ..link.embedded import EmbeddedBroker, Kind, Settings
from . import cast, layout, load
from .fleet import Fleet
from .narrate import Narrator
from .outcome import Outcome, device_outcome, rolled_back
from .processes import Processes, wait_for
from .watch import Watch

GOOD_FIRST, GOOD_NEXT, GOLDEN_WRONG, TOO_SLOW = 1, 2, 3, 4
SETTLED = ("complete", "gone-back")


class Job:
    """Runs the acts in order. Everything that it starts is in `processes`."""

    def __init__(
        self,
        where: layout.Layout,
        work: Path,
        processes: Processes,
        narrator: Narrator,
        fleet: Fleet,
        ports: tuple[int, int],
    ) -> None:
        self._at, self._work, self._processes, self._tell = where, work, processes, narrator
        self._fleet, (self._broker_port, _) = fleet, ports
        self._watch = Watch(fleet, narrator)

    def compress(self) -> None:
        """Train, and make the variants of two releases; then spoil copies of the second for the two bad ones."""
        self._tell.act("compress: train a small residual network on Fashion-MNIST, and make its variants")
        self._run("example", ["edgefleet", "compress", "example", str(self._at.example)])
        for number, recipes in ((GOOD_FIRST, "recipes.toml"), (GOOD_NEXT, "recipes-2.toml")):
            summary = self._compress(number, recipes)
            for row in summary["variants"]:
                self._tell.say(
                    f"{row['name']:<20} accuracy {row['accuracy']:.4f}  {row['wire_bytes'] / 1e3:7.1f} kB on the wire"
                )
        self._tell.say(f"report: {self._at.package(GOOD_FIRST) / 'report.html'}")
        for number, how in ((GOLDEN_WRONG, "wrong-golden"), (TOO_SLOW, "slow")):
            self._run(
                f"sabotage-{how}",
                [
                    "edgefleet_compress.example.sabotage",
                    str(self._at.package(GOOD_NEXT)),
                    "--how",
                    how,
                    "--out",
                    str(self._at.package(number)),
                ],
            )
            self._tell.say(f"made a bad release on purpose: {how}")

    def _compress(self, number: int, recipes: str) -> dict[str, list[dict[str, float]]]:
        output = self._processes.run(
            f"compress-{number}",
            [
                "edgefleet",
                "compress",
                "run",
                str(self._at.example / "workload.py"),
                "--recipes",
                str(self._at.example / recipes),
                "--work",
                str(self._work),
                "--out",
                str(self._at.package(number)),
                "--json",
            ],
            say=self._tell.say,
        )
        summary: dict[str, list[dict[str, float]]] = json.loads(output)
        return summary

    def trust(self) -> None:
        """Make the keys and the repository."""
        self._tell.act("trust: make keys, offline and online, and the repository that they sign")
        arguments = [
            "edgefleet",
            "trust",
            "init",
            "--repository",
            str(self._at.repository),
            "--keys",
            str(self._at.keys),
        ]
        for region in cast.POLICIES:
            arguments += ["--region", region]
        self._run("trust-init", [*arguments, "--fleet", cast.FLEET, "--yes-i-am-alone"])

    def sign(self, number: int) -> str:
        """Propose, sign and publish one package; return the release's name."""
        # `propose` would refuse it: the demo shows that devices do too, when somebody leaves the question out.
        unasked = ["--no-golden"] if number == GOLDEN_WRONG else []
        proposal, repository, keys = str(self._at.proposal(number)), str(self._at.repository), str(self._at.keys)
        package = str(self._at.package(number))
        self._run(
            "propose",
            ["edgefleet", "release", "propose", package, "--repository", repository, "--out", proposal, *unasked],
        )
        self._run("sign", ["edgefleet", "trust", "sign", proposal, "--keys", keys, "--yes"])
        self._run("publish", ["edgefleet", "trust", "publish", proposal, "--repository", repository, "--keys", keys])
        return f"{cast.MODEL}/{number}"

    def broker(self, kind: Kind | None) -> EmbeddedBroker:
        """Return the broker, to be entered, and say which it is."""
        broker = EmbeddedBroker(Settings(self._broker_port, self._at.folder / "broker", kind))
        self._tell.act(f"start: broker ({broker.kind}), server, four devices, each a process of its own")
        return broker

    def start_parts(self) -> None:
        """Start the server and the devices, and give each device its region."""
        self._run("hardware", ["edgefleet_agent.hardware.samples", str(self._at.hardware)])
        self._processes.start("server", ["edgefleet", "server", "run", "--config", str(self._at.server_config)])
        wait_for("the server", self._fleet.up, self._processes, 60)
        for player in cast.DEVICES:
            self._processes.start(
                player.id, ["edgefleet", "agent", "run", "--config", str(self._at.agent_config(player))]
            )
            self._fleet.assign(player)
        wait_for("every device in its region", self._all_assigned, self._processes, 90)
        for player in cast.DEVICES:
            state = self._fleet.state(player.id)
            board = state.hardware.board if state and state.hardware else "?"
            self._tell.say(f"{player.id:<12} is a {board} in {player.region}")
        self._tell.say(f"the page: {self._fleet.url}")

    def _all_assigned(self) -> bool:
        states = [self._fleet.state(player.id) for player in cast.DEVICES]
        return all(state is not None and state.hardware is not None and state.region is not None for state in states)

    def show_plan(self, release: str) -> None:
        """Print what each device would do."""
        for region in self._fleet.plan(release):
            for row in region["devices"]:
                taken = next((line["variant"] for line in row["choice"]["table"] if line["verdict"] == "taken"), None)
                self._tell.say(f"{row['device']:<12} would take {taken}, in stage {row['stage'] + 1}")

    def roll_out(self, release: str, timeout_s: float = 150) -> None:
        """Roll a release out to every region and return once each is complete or has gone back."""
        wait_for(f"{release} listed", lambda: release in self._fleet.releases(), self._processes, 30)
        self._fleet.start(release)
        self._until(f"{release} complete or gone back", lambda: self._settled(release), timeout_s)

    def _settled(self, release: str) -> bool:
        rows = [row for row in self._fleet.rollouts() if row["release"] == release]
        return len(rows) == len(cast.POLICIES) and all(row["status"] in SETTLED for row in rows)

    def until_requests(self, enough: int, timeout_s: float) -> None:
        """Return once so many requests were sent."""
        self._until(f"{enough} requests", lambda: load.count(self._at)[0].sent >= enough, timeout_s)

    def until_on(self, release: str, timeout_s: float) -> None:
        """Return once every device runs `release`, proven, and has said so."""
        self._until(f"{release} on every device", lambda: self._all_on(release), timeout_s)

    def _all_on(self, release: str) -> bool:
        for player in cast.DEVICES:
            state = self._fleet.state(player.id)
            model = next((row for row in state.models if row.model == cast.MODEL), None) if state else None
            if model is None or model.running is None or model.running.release != release or not model.running.proven:
                return False
        return True

    def _until(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        def look() -> bool:
            self._watch.look()
            return ready()

        wait_for(what, look, self._processes, timeout_s, every_s=0.5)
        self._watch.look()

    def outcome(self, good: int) -> Outcome:
        """Return what came out, read from the server and the load generators."""
        states = {player.id: self._fleet.state(player.id) for player in cast.DEVICES}
        release = decode((self._at.package(good) / "release.json").read_bytes(), Release)
        original = release.original_accuracy.value if release.original_accuracy else 0.0
        requests, _ = load.count(self._at)
        return Outcome(
            devices=tuple(
                device_outcome(player, states[player.id], self._fleet.measured(player.id)) for player in cast.DEVICES
            ),
            variants=self._fleet.variants(f"{cast.MODEL}/{good}"),
            original_accuracy=original,
            requests=requests,
            rolled_back=rolled_back({name: state for name, state in states.items() if state is not None}),
            seconds=round(self._tell.seconds, 1),
        )

    def _run(self, name: str, arguments: list[str]) -> None:
        self._processes.run(name, arguments)
