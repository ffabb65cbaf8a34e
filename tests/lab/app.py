"""An application in the box: asks a model over and over, checks each answer exactly, and prints one JSON object at its end.

app.py SEEDS SOCKET MODEL SECONDS [--fresh]: SEEDS is a JSON file, "release variant" to the seed of that tiny model. It ends
after SECONDS or at SIGTERM. Nothing is tried again here: what the client library reports as failed counts as failed.
"""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from tiny_model import answers, samples

from edgefleet_client import ClientError, Model

PAUSE_S = 0.02


def main(seeds: str, socket: str, name: str, seconds: str, *more: str) -> None:
    """Ask until the end."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    counts: dict[str, int] = {}
    failures: list[str] = []
    longest = 0.0
    inputs = np.asarray(samples(4711, 64), dtype=np.float32)
    end = time.monotonic() + float(seconds)
    number = 0
    with Model(name, socket=socket, timeout_s=60.0) as model:
        while not ending and time.monotonic() < end:
            number = (number + 1) % len(inputs)
            began = time.monotonic()
            if "--fresh" in more:
                model.close()
            try:
                said = model.predict(inputs[number])
            except ClientError as error:
                failures.append(f"{type(error).__name__}: {error}"[:200])
            else:
                who = f"{said.release} {said.variant}"
                right = answers(json.loads(Path(seeds).read_text())[who], [inputs[number].tolist()])
                if np.array_equal(said.array, np.asarray(right, dtype=np.float32)):
                    counts[who] = counts.get(who, 0) + 1
                else:
                    failures.append(f"{who} is wrong: {said.array.tolist()}")
            longest = max(longest, time.monotonic() - began)
            time.sleep(PAUSE_S)
    print(json.dumps({"right": counts, "failed": len(failures), "words": failures[:3], "longest_s": round(longest, 2)}))


main(*sys.argv[1:])
