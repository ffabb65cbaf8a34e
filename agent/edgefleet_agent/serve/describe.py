"""`python -m edgefleet_agent.serve.describe FILE` prints the inputs and outputs that an ONNX file says, as JSON."""

import sys
from pathlib import Path

import msgspec

from .errors import ServeError
from .runtime import named


def main(argv: list[str]) -> int:
    """Print, and return 0; 1 with the reason on standard error when the file cannot be opened."""
    try:
        session = named("onnxruntime").open(Path(argv[0]), "CPUExecutionProvider", 1)
    except ServeError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    print(msgspec.json.encode({"inputs": session.inputs, "outputs": session.outputs}).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
