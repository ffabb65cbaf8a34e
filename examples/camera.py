"""Ask a model about what a camera sees: python camera.py MODEL [--source 0 | video.mp4 | synthetic].

Frames come faster than the model answers, so only the newest is asked (`Latest`). Needs OpenCV for a camera or a video
(`apt install python3-opencv`, or `pip install opencv-python-headless`); without it, and with `--source synthetic`, moving
bars stand in for a camera.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgefleet_client import Change, Latest, Model


def main() -> None:
    """Show what the model says, until the frames end or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--socket", help="another place than RUN/MODEL.sock")
    parser.add_argument("--source", default="0", help="number of a camera, a video file, or synthetic (0)")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many (0: never)")
    arguments = parser.parse_args()

    def changed(change: Change) -> None:
        print(f"now {change.release} {change.variant} answers, before {change.before} {change.variant_before}")

    model = Model(arguments.model, socket=arguments.socket, wait_s=60, on_change=changed)
    said = model.metadata()
    tensor = said["inputs"][0]
    contract = said["parameters"]["interface"]["inputs"].get(tensor["name"], {})
    answered = 0
    with Latest(model) as latest:
        for number, picture in enumerate(pictures(arguments.source)):
            latest.offer(prepare(picture, tensor, contract))
            answer = latest.newest(0.02)
            if answer is not None:
                answered += 1
                what = answer.label if answer.task == "classification" else ", ".join(answer.outputs)
                print(f"{what}  {answer.seconds * 1e3:.1f} ms  {answer.release} {answer.variant}")
            if number + 1 == arguments.frames:
                break
        while answered == 0 and latest.failed == 0:
            answered += latest.newest(1.0) is not None
        print(f"{answered} answers, {latest.dropped} frames overtaken by newer ones, {latest.failed} errors")
        if latest.last_error is not None:
            raise SystemExit(str(latest.last_error))


def pictures(source: str) -> Iterator[Any]:
    """Yield pictures: height, width, three colours (red first), uint8."""
    try:
        import cv2
    except ImportError:
        cv2 = None
    if cv2 is None or source == "synthetic":
        if source != "synthetic":
            print("OpenCV is not installed: moving bars stand in for the camera")
        yield from bars()
        return
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise SystemExit(f"OpenCV cannot open {source}: name another --source, or synthetic")
    while True:
        good, frame = capture.read()
        if not good:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def bars() -> Iterator[Any]:
    """Yield pictures of a bar that moves, thirty a second."""
    across = np.arange(320)
    for step in range(10**9):
        line = (((across - step * 4) % 320) < 60).astype(np.uint8) * 255
        yield np.broadcast_to(line[None, :, None], (240, 320, 3)).copy()
        time.sleep(1 / 30)


def prepare(picture: Any, tensor: dict[str, Any], contract: dict[str, Any]) -> Any:
    """Return `picture` as the model's input: size, layout, colours and range are the release's contract."""
    shape = [1 if size < 0 else size for size in tensor["shape"]]
    if len(shape) != 4:  # no picture: as many numbers as it takes, to have something to send
        return np.resize(picture, shape).astype(np.float32) / 255
    layout = contract.get("layout") or ("NHWC" if shape[-1] in (1, 3) else "NCHW")
    at = {axis: layout.index(axis) for axis in "CHW"}
    height, width, colours = shape[at["H"]], shape[at["W"]], shape[at["C"]]
    # Nearest neighbour, so that numpy is enough; with OpenCV, cv2.resize is better.
    rows = np.linspace(0, picture.shape[0] - 1, height).astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, width).astype(int)
    small = picture[rows][:, columns]
    small = small.mean(axis=2, keepdims=True) if colours == 1 else small
    if layout == "NCHW":
        small = small.transpose(2, 0, 1)
    if tensor["datatype"] == "UINT8":
        return small.astype(np.uint8)[None]
    low, high = contract.get("range") or (0, 1)
    return (small.astype(np.float32) / 255 * (high - low) + low)[None]


if __name__ == "__main__":
    main()
