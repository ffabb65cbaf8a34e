"""The detector: mean average precision, bytes and predicted time of float, int8, pruned and distilled, and of int8 without a float head.

Prints the table of docs/reference/detector.md (`--write` puts it there). Training takes about three minutes; `--work DIR` keeps it.
"""

import sys

from edgefleet_compress.pipeline import Outcome

from ._variants import run


def refused(outcome: Outcome) -> str:
    """Return what the insurance gate says of those that it would leave out."""
    rows = [
        f"- `{made.name}`: {'; '.join(made.verdict.refusals)}"
        for made in outcome.made
        if made.verdict is not None and made.verdict.refusals
    ]
    return "\n\nWhat the insurance gate refuses of these:\n\n" + "\n".join(rows or ["- nothing"])


if __name__ == "__main__":
    sys.exit(run("detector", __doc__, ("detector.py", "detector.toml"), sys.argv[1:], "mAP@0.5", refused))
