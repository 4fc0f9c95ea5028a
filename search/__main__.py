"""`python -m search`: the same as scripts/search.py."""

import sys

from search.cli import run

sys.exit(run("search"))
