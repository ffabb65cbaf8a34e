"""Each technique of compression alone on the example's network: accuracy, bytes, arithmetic, and the time predicted for two boards.

Prints the table of docs/reference/techniques.md (`--write` puts it there). Figures: accuracy and kilobytes on the wire of each variant.
Training takes some minutes; `--work DIR` keeps it.
"""

import sys

from ._variants import run

if __name__ == "__main__":
    sys.exit(run("techniques", __doc__, ("workload.py", "techniques.toml"), sys.argv[1:]))
