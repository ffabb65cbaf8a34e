"""`python -m edgefleet_agent.look_child SCRATCH`: one look, request on standard input, answer on standard output.

A process of its own, so that the control agent never carries python-tuf and cryptography (27 MB).
"""

import sys
from pathlib import Path

from .look import look
from .look_wire import MAX_BYTES, decode_request, encode_answer


def main() -> None:
    """Answer one request and end."""
    request = decode_request(sys.stdin.buffer.read(MAX_BYTES + 1))
    sys.stdout.buffer.write(encode_answer(look(request, Path(sys.argv[1]))))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
