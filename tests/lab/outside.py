"""What is outside the box: a real server and a real Mosquitto with identities, at the other end of its cable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgefleet_protocol.manifest import Requirement
from tests.fakes import tiny_model
from tests.fakes.enrolled_fleet import EnrolledFleet
from tests.fakes.fleet import MEMORY, WEST
from tests.fakes.tiny_model import IR_VERSION, OPSET

from .box import AS_AGENT, OUTSIDE, Box

DEVICE = "boxed"
ONE = {"wide": Requirement(ir=IR_VERSION, opset=OPSET, memory_bytes=MEMORY, load_s=60.0)}
APP = "/opt/app"


class Outside(EnrolledFleet):
    """EnrolledFleet for one device that it does not start itself."""

    def __init__(self, box: Box) -> None:
        super().__init__((), host=OUTSIDE)
        self.box = box
        self._known: dict[str, int] = {}

    def enrol_box(self) -> None:
        """Have the device enrol with a token that is good for once, as the page for people says it."""
        token = self.token(WEST)
        self.box.must(*AS_AGENT, "sh", "-c", f"umask 077; echo {token} >/var/lib/edgefleet/token")
        done = self.box.agent("enrol", self.enrol_url, "--token-file", "/var/lib/edgefleet/token", "--device", DEVICE)
        assert done.returncode == 0, done.stderr
        again = self.box.run(
            *AS_AGENT, "edgefleet", "agent", "enrol", self.enrol_url, "--token-file", "/var/lib/edgefleet/token",
            "--device", "thief", "--config", "/tmp/thief.toml",
        )  # fmt: skip
        assert again.returncode != 0, "a token that is good for once was taken twice"

    def install_app(self) -> None:
        """Put the application there; it uses the Python that came with the packages."""
        folder = self.box.root / APP.lstrip("/")
        here = Path(__file__).parent
        shutil.copytree(here.parents[1] / "client/edgefleet_client", folder / "edgefleet_client", dirs_exist_ok=True)
        for file in (here / "app.py", Path(tiny_model.__file__)):
            shutil.copy(file, folder / file.name)

    def new_release(self, **more: object) -> str:
        """Make, sign and publish a release; the application learns what it answers."""
        name = self.release("fashion", variants=ONE, guesses=False, **more)  # type: ignore[arg-type]
        for variant in ONE:
            self._known[f"{name} {variant}"] = self.seed_of(name, variant)
        (self.box.root / APP.lstrip("/") / "seeds.json").write_text(json.dumps(self._known))
        return name
