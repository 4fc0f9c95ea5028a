"""Show all runs of a folder in a browser: see `python scripts/ui.py --help`."""
# PYTHON_ARGCOMPLETE_OK

import sys
from pathlib import Path

# Run by path, Python puts this folder first, where search.py would hide the package `search`.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from search.cli import run  # noqa: E402

if __name__ == "__main__":
    sys.exit(run("ui"))
