"""One search in its own process, and ours through the command's own entry point."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.run import Run
    from search.sampling.proposal import Sampler
    from search.space import Space

FOLDER = Path(__file__).resolve().parent


def answer_of(module: str, *arguments: object, **env: str) -> Any:
    """Run `module` in a process of its own and return the JSON of its last line.

    Raises:
        SystemExit: The process failed; carries the end of its output.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    env["RAY_AUTH_TOKEN"] = secrets.token_hex(16)  # otherwise stock Ray writes one into the home folder
    done = subprocess.run(
        command, cwd=FOLDER.parent, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def search_of_ours(
    space_name: str, make_sampler: Callable[[Space], Sampler], *, folder: Path, overrides: Sequence[str] = ()
) -> Run:
    """Search a space of this folder on a Ray session of its own, recorded in `folder`; return the run."""
    from rich.console import Console

    from search.backends.ray.backend import RayBackend
    from search.launch import Launch, launch
    from search.output import Output
    from search.space import load_space

    space = load_space(str(FOLDER / space_name), overrides=overrides, spaces_dir=FOLDER)
    with Path(os.devnull).open("w") as silence:
        how = Launch(folder=folder / "run", command=sys.argv, backend=RayBackend())
        run, _ = launch(space, how, make_sampler=make_sampler, output=Output(console=Console(file=silence)))
    return run
