"""Functions of made-up projects, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def functions_file(path: Path, items: Sequence[dict[str, Any]]) -> str:
    """Write the items, one a line, and return the name of the source."""
    path.write_text("\n".join(json.dumps(item) for item in items))
    return f"jsonl:{path}"


def made_functions(num_projects: int = 8, *, each: int = 10) -> list[dict[str, Any]]:
    """`each` functions per project, every second one with a target of 1 and a `strcpy`."""
    return [
        {
            "func": f"int f{project}_{number}(char *a) {{ {'strcpy' if number % 2 else 'strlcpy'}(b, a); }}",
            "target": number % 2,
            "project": f"p{project}",
        }
        for project in range(num_projects)
        for number in range(each)
    ]
