"""Ask a model that the agent serves on this device: python predict.py MODEL [--run /run/edgefleet]."""

import argparse
from pathlib import Path

import numpy as np

from edgefleet_client import Model


def main() -> None:
    """Send one picture of zeros of the size that the model wants, and print what comes back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--run", type=Path, default=Path("/run/edgefleet"))
    arguments = parser.parse_args()
    model = Model(arguments.model, socket=arguments.run / f"{arguments.model}.sock", wait_s=30)
    wanted = model.metadata()["inputs"][0]
    shape = [1 if size < 0 else size for size in wanted["shape"]]
    answer = model.predict(np.zeros(shape, dtype=np.float32))
    print(f"{answer.release} {answer.variant} answered in {answer.seconds * 1e3:.1f} ms: {answer.label}")


if __name__ == "__main__":
    main()
