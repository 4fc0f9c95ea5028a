"""Runs of strangers: folders that name code in every possible way; the code leaves a mark if it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from search.space.record import RECORD
from tests.support.toy_runs import TOY, as_searched, executed, made_space

MARK = "code-ran"


def evil(root: Path) -> str:
    """A working trainable that leaves a mark in `root` when it is imported or run."""
    return (
        f"import pathlib\npathlib.Path({str(root / MARK)!r}).write_text(__file__)\n"
        "from trainables.toy import TRAINABLE\n"
    )


def whole_run(folder: Path) -> Path:
    """A run of the toy with everything that a search leaves for readers."""
    folder.mkdir(parents=True)
    space = made_space(folder, TOY, ("search.limits.trials=4",))
    run, _ = executed(space, folder)
    as_searched(space, run.ledger)
    return run.ledger.folder


def renamed(run: Path, trainable: str) -> None:
    """Make the run's space and its record name another trainable."""
    edit_space(run, lambda space: space["search"].update(trainable=trainable))
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps({**record, "trainable": trainable}))


def edit_space(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    yaml, path = YAML(typ="safe", pure=True), run / "space.yaml"
    content = yaml.load(path.read_text())
    change(content)
    with path.open("w") as file:
        yaml.dump(content, file)


def beside(run: Path, root: Path) -> None:
    (run / "evil.py").write_text(evil(root))
    renamed(run, "./evil.py")


def absolute(run: Path, root: Path) -> None:
    (run / "evil.py").write_text(evil(root))
    renamed(run, str(run / "evil.py"))


def above(run: Path, root: Path) -> None:
    (run.parent / f"{run.name}.py").write_text(evil(root))
    renamed(run, f"../{run.name}.py")


def deep(run: Path, root: Path) -> None:
    (run / "trials" / "evil.py").write_text(evil(root))
    renamed(run, "trials/../trials/evil.py")


def linked(run: Path, root: Path) -> None:
    target = root / f"{run.name}-elsewhere.py"
    target.write_text(evil(root))
    (run / "evil.py").symlink_to(target)
    renamed(run, "./evil.py")


def package(run: Path, root: Path) -> None:
    (run / "evil").mkdir()
    (run / "evil" / "__init__.py").write_text(evil(root))
    renamed(run, "./evil/__init__.py")


def shadows(run: Path, root: Path) -> None:
    """Add modules with the names that a reader imports; the trainable is the program's toy."""
    (run / "trainables").mkdir()
    for name in ("toy.py", "search.py", "trainables/__init__.py", "trainables/toy.py", "json.py", "numpy.py"):
        (run / name).write_text(evil(root))


def unrecorded(run: Path, root: Path) -> None:
    beside(run, root)
    (run / RECORD).unlink()


def bare(run: Path, root: Path) -> None:
    """Remove the record and the metric, so that nothing can be read without running code."""
    unrecorded(run, root)
    edit_space(run, lambda space: space.pop("metric"))


def parts(run: Path, root: Path) -> None:
    """Add promotions and a baseline that name code which the search did not."""
    for name in ("promotion", "promotion-2", "baseline-knn"):
        copy = run / name
        shutil.copytree(run, copy, ignore=lambda folder, names: {"promotion", "promotion-2", "baseline-knn"})
        beside(copy, root)


def tagged(run: Path, root: Path) -> None:
    path = run / "space.yaml"
    call = f"!!python/object/apply:os.system ['touch {root / MARK}']"
    path.write_text(f"project: {call}\n{path.read_text()}")


def scripted(run: Path, root: Path) -> None:
    """Make the folder's own script the trainable."""
    (run / "evil.py").write_text(evil(root))
    (run / RECORD).unlink()

    def change(space: dict[str, Any]) -> None:
        defaults = {"lr": 0.01, "batch_size": 32}
        command = {
            "run": ["{python}", "evil.py"],
            "metric": "val_accuracy",
            "mode": "max",
            "defaults": defaults,
        }
        space["search"].update(trainable="command", command=command)

    edit_space(run, change)


def chained(run: Path, root: Path) -> None:
    """Warm-start from another run that names code."""
    other = run.with_name(f"{run.name}-earlier")
    shutil.copytree(run, other)
    beside(other, root)
    edit_space(run, lambda space: space["search"].update(warm_start=[str(other)]))


def worded(run: Path, root: Path) -> None:
    """Put code where the record has names and kinds."""
    record = json.loads((run / RECORD).read_text())
    call = f"__import__('pathlib').Path({str(root / MARK)!r}).touch()"
    record["hparams"][f"x={call}"] = {"default": call, "kind": None, "refused_from": {}}
    (run / RECORD).write_text(json.dumps(record))


STRANGERS: dict[str, Callable[[Path, Path], None]] = {
    each.__name__: each
    for each in (
        *(beside, absolute, above, deep, linked, package, shadows, unrecorded, bare, parts),
        *(tagged, scripted, chained, worded),
    )
}
UNREADABLE = {"bare", "tagged", "worded"}  # nothing in them can be read


def strangers_runs(root: Path) -> Path:
    """Write a run of every kind below `root`, and return their folder."""
    run, results = whole_run(root / "made"), root / "results"
    for name, change in STRANGERS.items():
        shutil.copytree(run, results / name)
        change(results / name, root)
    return results
