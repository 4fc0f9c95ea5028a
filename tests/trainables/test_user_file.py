"""Trainables in files of the user's own: what lies beside them is found, and what is wrong is named."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import UnknownTrainable, load_trainable

# A trainable whose score comes from what it imports.
MODEL = """
from __future__ import annotations

from dataclasses import dataclass
{imports}
from trainables.core.contract import Trainable


@dataclass(frozen=True)
class Hparams:
    lr: float = 0.1


class Training:
    def __init__(self) -> None:
        self.epochs_done = 0

    def run_epoch(self, budget):
        self.epochs_done += 1
        return {{"val_accuracy": float({score})}}

    def test(self): return {{}}
    def notes(self): return {{}}
    def state_dict(self): return {{"epochs_done": self.epochs_done}}
    def load_state_dict(self, state): self.epochs_done = state["epochs_done"]


def start(hparams, budget, context):
    {lazily}
    return Training()


TRAINABLE = Trainable(hparams=Hparams, metric="val_accuracy", mode="max", start=start)
"""


def written(
    folder: Path,
    imports: str,
    score: str = "ONE",
    *,
    lazily: str = "pass",
    name: str = "my_model.py",
    **files: Any,
) -> str:
    """The path of a trainable in `folder`, with neighbours by their names (`__` is a slash)."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        path = folder / f"{file.replace('__', '/').replace('/init/', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / name).write_text(MODEL.format(imports=imports, score=score, lazily=lazily))
    return str(folder / name)


def scored(trainable: Any, folder: Path) -> float:
    context = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=folder)
    value: float = trainable.start(trainable.hparams(), Budget(epochs=1), context).run_epoch(
        Budget(epochs=1)
    )["val_accuracy"]
    return value


def score_of(path: str) -> float:
    return scored(load_trainable(path), Path(path).parent)


def test_a_module_beside_the_file_is_found(tmp_path: Path) -> None:
    assert score_of(written(tmp_path, "from losses_here import ONE", losses_here="ONE = 0.25")) == 0.25


def test_a_package_beside_it_and_a_neighbours_neighbour_are_found(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "import nets_here.deep.curve as curve",
        "curve.ONE",
        nets_here__deep__curve="from scale_here import TWO\nfrom .. import HALF\nONE = HALF * TWO",
        scale_here="TWO = 0.5",
    )
    (tmp_path / "nets_here/__init__.py").write_text("HALF = 0.5")
    assert score_of(path) == 0.25


def test_a_folder_without_init_is_a_package_as_well(tmp_path: Path) -> None:
    path = written(tmp_path, "from parts_here.one import ONE", parts_here__one="ONE = 0.75")
    assert score_of(path) == 0.75


def test_neighbours_imported_only_when_the_training_starts_are_found(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "",
        "Training.one",
        lazily="import late_here; Training.one = late_here.ONE",
        late_here="ONE = 0.5",
    )
    assert score_of(path) == 0.5


def test_data_beside_the_file_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(
        tmp_path / "own", "from pathlib import Path", "Path(__file__).with_name('one.txt').read_text()"
    )
    (tmp_path / "own/one.txt").write_text("0.125")
    monkeypatch.chdir(tmp_path / "own")
    trainable = load_trainable("./my_model.py")
    monkeypatch.chdir(tmp_path)
    assert scored(trainable, tmp_path) == 0.125
    assert score_of(path) == 0.125


def test_a_file_in_a_package_may_use_it_in_both_ways(tmp_path: Path) -> None:
    path = written(
        tmp_path / "ourlab/models",
        "from ..scale import TWO\nfrom ourlab.models.parts import ONE",
        "ONE * TWO",
        parts="ONE = 0.25",
    )
    (tmp_path / "ourlab/scale.py").write_text("TWO = 2")
    for folder in ("ourlab", "ourlab/models"):
        (tmp_path / folder / "__init__.py").touch()
    assert score_of(path) == 0.5


def test_two_folders_with_neighbours_of_one_name_keep_apart(tmp_path: Path) -> None:
    late = "import again_here; Training.more = again_here.ONE"
    for folder, one in (("first", 0.25), ("second", 0.5)):
        written(
            tmp_path / folder,
            "from same_here import ONE",
            "ONE + self.more",
            lazily=late,
            same_here=f"ONE = {one}",
            again_here=f"ONE = {one / 100}",
        )
    first, second = (load_trainable(str(tmp_path / folder / "my_model.py")) for folder in ("first", "second"))
    assert [scored(first, tmp_path), scored(second, tmp_path)] == [0.2525, 0.505]
    assert scored(first, tmp_path) == 0.2525


def test_a_neighbour_that_was_edited_is_imported_anew(tmp_path: Path) -> None:
    path = written(tmp_path, "from edited_here import ONE", edited_here="ONE = 0.25")
    assert score_of(path) == 0.25
    (tmp_path / "edited_here.py").write_text("ONE = 0.5 + 0")
    assert score_of(path) == 0.5


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("statistics", "Python's own module statistics"),
        ("search", "jouletune's package search"),
        ("pytest", "an installed module pytest (in use already)"),
    ],
)
def test_a_neighbour_with_a_taken_name_is_named(tmp_path: Path, name: str, whose: str) -> None:
    path = written(tmp_path, f"import {name}", **{name: "ONE = 1"})
    with pytest.raises(UnknownTrainable) as refused:
        load_trainable(path)
    line = 1 + MODEL.split("{imports}")[0].count("\n")
    assert str(refused.value) == (
        f"{tmp_path}/{name}.py has the name of {whose}, which {path}, line {line}, imports; "
        "rename the one beside the trainable"
    )


def test_a_neighbour_with_a_taken_name_that_is_not_imported_hides_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "", "0.5", queue="1 / 0", torch="1 / 0", search="1 / 0")
    assert score_of(path) == 0.5
    import queue

    assert queue.Queue


def test_classes_of_the_file_and_its_neighbours_can_be_pickled_and_read_by_a_spawned_process(
    tmp_path: Path,
) -> None:
    path = written(
        tmp_path,
        "from items_here import Item\nONE = 1",
        items_here="class Item:\n    def __init__(self, one): self.one = one",
    )
    module = sys.modules[load_trainable(path).hparams.__module__]
    content = pickle.dumps((module.Item(3), module.Hparams(lr=0.5)))
    item, hparams = pickle.loads(content)
    assert (item.one, hparams.lr) == (3, 0.5)
    child = (
        "import pickle, sys\n"
        "item, hparams = pickle.loads(sys.stdin.buffer.read())\n"
        "print(item.one, hparams.lr)"
    )
    context = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", child], input=content, env=context, capture_output=True, check=True
    )
    assert done.stdout == b"3 0.5\n"


def test_a_file_named_like_a_taken_module_is_loaded_under_another_name(tmp_path: Path) -> None:
    for name in ("random.py", "torch.py", "search.py", "my-model.v2.py"):
        path = written(tmp_path, "import random", "random.Random(0).randint(1, 1)", name=name)
        (tmp_path / name).rename(tmp_path / "kept")
        other = tmp_path / name.partition(".")[0]
        other.mkdir()
        (tmp_path / "kept").rename(other / name)
        assert score_of(path.replace(name, f"{other.name}/{name}")) == 1.0
    assert not hasattr(sys.modules["random"], "TRAINABLE")


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(UnknownTrainable) as refused:
        load_trainable(str(path))
    return str(refused.value).replace(str(path), "FILE")


MADE = "from trainables.core.contract import Trainable\nfrom dataclasses import make_dataclass as m\n"
EXPECTED = "end the file with TRAINABLE = Trainable(hparams=..., metric=..., mode=..., start=...)"
OR_SCRIPT = "; a script is searched as it is with trainable: command"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", f"FILE exports no TRAINABLE; {EXPECTED}{OR_SCRIPT}"),
        (
            f"{MADE}\nmodel = Trainable(hparams=m('H', []), metric='a', mode='max', start=print)\n",
            "FILE, line 4: the Trainable is called model; call it TRAINABLE",
        ),
        (
            "\nclass T: ...\nTRAINABLE = T\n",
            f"FILE, line 3: TRAINABLE is the class T, not a Trainable; {EXPECTED}",
        ),
        ("TRAINABLE = {'lr': 1}\n", f"FILE, line 1: TRAINABLE is of type dict, not a Trainable; {EXPECTED}"),
        (
            f"{MADE}TRAINABLE = Trainable(hparams={{}}, metric=3, mode='maximize', start=None)\n",
            "FILE fails on import: ValueError: hparams must be a dataclass (the class itself), got {}; "
            "metric must be the name of a value that run_epoch returns, got 3; mode must be "
            '"min" or "max", got \'maximize\'; start must be a function, got None (FILE, line 3)',
        ),
        ("def f(:\n", "FILE fails on import: SyntaxError: invalid syntax (FILE, line 1)"),
        ("x = 1\0\n", "FILE fails on import: SyntaxError: source code string cannot contain null bytes"),
        (
            "import no_such_module_here\n",
            "FILE fails on import: ModuleNotFoundError: No module named 'no_such_module_here' (FILE, line 1)",
        ),
        (
            "import json\n\njson.loads('{')\n",
            "FILE fails on import: JSONDecodeError: Expecting property name enclosed "
            "in double quotes: line 1 column 2 (char 1) (FILE, line 3)",
        ),
        (
            "import sys\nsys.exit('usage: train')\n",
            "FILE fails on import: SystemExit: usage: train (FILE, line 2); it is imported, not run: what "
            f'it does when run belongs under if __name__ == "__main__"{OR_SCRIPT}',
        ),
    ],
)
def test_a_file_that_gives_no_trainable_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    assert refusal(tmp_path / "broken_here.py", text) == message


def test_a_space_names_such_a_file_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "space.yaml").write_text(
        "parameters: {lr: {min: 0.1, max: 1.0}}\n"
        "search: {trainable: ./own.py, data: none, ladder: {epochs: [1]}}\n"
    )
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/search.py", "--space", "./space.yaml", "--dry-run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        f"search.trainable: {tmp_path}/own.py fails on import: SystemExit: 3 ({tmp_path}/own.py, line 2)"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
