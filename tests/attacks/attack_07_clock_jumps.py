"""The clock of a device jumps ten years ahead, by a wrong answer of a time server, and back."""

from pathlib import Path

from tests.attacks.report import must
from tests.attacks.scene import DAY, Scene, next_rollout

EXPECTED = "refused while it is ahead, forgotten once it is right: the clock never becomes a floor"


def run(folder: Path) -> str:
    """Look with the clock ahead, with it right again, and at 1970."""
    scene = Scene(folder)
    scene.believes("the honest state")
    floor = scene.device.memory.floor
    right = scene.device.now
    scene.device.now = right + 3650 * DAY
    reason = scene.refuses("ten years ahead", "the clock says")
    must(scene.device.memory.floor == floor, "the wrong clock became the floor")
    scene.device.now = right
    next_rollout(scene.world)
    scene.believes("the clock is right again, and something new")
    return f"{reason}; then believed"
