"""What a run keeps of its trainable: the same to a reader as the trainable itself, and no code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.ledger import Ledger
from search.report.page.run_data import read_run
from search.run.resume import prepare_to_resume
from search.sampling.warm_start import earlier_trials
from search.space import SPACES, Space, SpaceError, load_space
from search.space.record import RECORD, digest_of, is_same_code, record_of
from tests.support.recorded_console import console, shown
from tests.support.toy_runs import TOY, as_searched, executed, fateful_space, listed, made_space
from trainables.core.load import TrainableRef

# Its only rule, that lr is above 0 and at most 1, is code.
RULED = """
from dataclasses import dataclass
from trainables.core.contract import MetricScale, Trainable

@dataclass(frozen=True, kw_only=True)
class Hparams:
    lr: float = 0.1
    depth: int | None = None
    sides: tuple[int, ...] = (16, 32)

    def __post_init__(self):
        if not 0 < self.lr <= 1:
            raise ValueError("lr must be above 0 and at most 1")

def start(hparams, budget, env):
    raise NotImplementedError

TRAINABLE = Trainable(hparams=Hparams, metric="val_rank1", mode="max", start=start, scored_unit="queries",
                      scales={"rank1": MetricScale(low=0.0, high=1.0, kind="mean", guessing=0.25)},
                      resolution_unit="tokens")
"""


def ruled_space(folder: Path, lr: str = "{min: 0.1, max: 1.0}") -> Space:
    (folder / "ruled.py").write_text(RULED)
    text = (
        f"parameters:\n  lr: {lr}\nsearch: {{trainable: ./ruled.py, data: none, ladder: {{epochs: [1]}}}}\n"
    )
    return made_space(folder, text)


def read_again(space: Space, folder: Path) -> Space:
    """The space as a reader of its run has it, the user's file gone."""
    ledger = Ledger.create(folder / "run")
    as_searched(space, ledger)
    (folder / "ruled.py").unlink(missing_ok=True)
    return load_space(str(ledger.space_file), spaces_dir=ledger.folder, is_of_run=True)


def test_a_space_read_by_its_record_equals_the_one_that_was_searched(tmp_path: Path) -> None:
    space = ruled_space(tmp_path)
    read = read_again(space, tmp_path)
    assert read == space
    assert (read.scale.kind, read.scale.guessing, read.scored_unit) == ("mean", 0.25, "queries")
    assert read.ladder.resolution_unit == "tokens"
    assert read.notices == ()


def test_a_part_of_the_program_is_recorded_alike(tmp_path: Path) -> None:
    space = made_space(tmp_path, TOY)
    assert read_again(space, tmp_path) == space


def test_defaults_and_kinds_are_recorded_as_data(tmp_path: Path) -> None:
    space = ruled_space(tmp_path)
    content = json.loads(record_of(space, space.trainable.load()).model_dump_json())
    assert content["hparams"]["lr"]["default"] == 0.1
    assert content["hparams"]["lr"]["kind"] == {"type": "number"}
    assert content["hparams"]["depth"]["kind"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert content["hparams"]["sides"]["default"] == [16, 32]
    assert content["file"]["sha256"] == digest_of(tmp_path / "ruled.py")


@pytest.mark.parametrize(
    ("lr", "refused"),
    [
        ("{min: 0.1, max: 1.0}", {"upper": 1.09}),
        ("{min: 0.05, max: 0.5}", {}),
        ("{values: [0.25, 0.5, 1.0]}", {"upper": 2.0}),
        ("{distribution: q_uniform, min: 0.25, max: 0.75, q: 0.25}", {"lower": 0.0}),
    ],
)
def test_what_lies_beyond_a_range_and_is_refused_is_recorded(
    lr: str, refused: dict[str, float], tmp_path: Path
) -> None:
    space = ruled_space(tmp_path, lr)
    record = record_of(space, space.trainable.load())
    assert record.hparams["lr"].refused_from == pytest.approx(refused)
    hparams = record.as_trainable().hparams
    for value in refused.values():
        with pytest.raises(ValueError, match="lr must be within what the trainable allows"):
            hparams(lr=value)
    assert hparams().sides == (16, 32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is not JSON"),
        ("[" * 5000, "it is not JSON"),
        ('{"trainable": "toy"}', "Field required"),
        ('{"schema_number": 2}', "was written by a later version of this program"),
        (None, "sides-x' cannot be the name of a hyperparameter"),
    ],
)
def test_a_damaged_record_is_named_with_the_way_on(content: str | None, message: str, tmp_path: Path) -> None:
    space = ruled_space(tmp_path)
    ledger = Ledger.create(tmp_path / "run")
    as_searched(space, ledger)
    path = ledger.folder / RECORD
    path.write_text(path.read_text().replace('"sides"', '"sides-x"') if content is None else content)
    with pytest.raises(SpaceError) as caught:
        load_space(str(ledger.space_file), spaces_dir=ledger.folder, is_of_run=True)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_moved_is_the_same_code_and_one_that_changed_is_not(tmp_path: Path) -> None:
    space = ruled_space(tmp_path)
    ledger = Ledger.create(tmp_path / "run")
    as_searched(space, ledger)
    moved = tmp_path / "elsewhere.py"
    (tmp_path / "ruled.py").rename(moved)
    assert is_same_code(ledger.folder, space.trainable, TrainableRef(path=moved))
    moved.write_text(RULED + "\n")
    assert not is_same_code(ledger.folder, space.trainable, TrainableRef(path=moved))
    assert not is_same_code(ledger.folder, space.trainable, TrainableRef(name="toy"))


def fateful_run(folder: Path) -> tuple[Space, Ledger]:
    space = fateful_space(folder)
    run, _ = executed(space, folder, listed({"fate": "fine", "score": 0.5}))
    as_searched(space, run.ledger)
    return space, run.ledger


def test_a_run_resumes_with_the_same_file_at_another_place(tmp_path: Path) -> None:
    _, ledger = fateful_run(tmp_path)
    (tmp_path / "moved").mkdir()
    moved = fateful_space(tmp_path / "moved", overrides=("name=made",))
    output = console(width=300)
    prepare_to_resume(ledger, moved, output)
    ledger.unlock()
    assert "has changed" not in shown(output)


def test_a_changed_file_is_reported_when_the_run_resumes(tmp_path: Path) -> None:
    space, ledger = fateful_run(tmp_path)
    path = tmp_path / "fateful.py"
    path.write_text(path.read_text() + "\n# fixed\n")
    output = console(width=300)
    prepare_to_resume(ledger, space, output)
    ledger.unlock()
    assert f"{path} has changed since the run's last session" in shown(output)


def test_a_warm_start_knows_a_run_whose_file_has_moved(tmp_path: Path) -> None:
    _, ledger = fateful_run(tmp_path)
    (tmp_path / "moved").mkdir()
    trials, _ = earlier_trials([ledger.folder], fateful_space(tmp_path / "moved"))
    assert len(trials) == 1


def test_the_page_of_a_run_whose_file_is_gone_has_its_range_and_its_rules(tmp_path: Path) -> None:
    _, ledger = fateful_run(tmp_path)
    (tmp_path / "fateful.py").unlink()
    facts = read_run(ledger.folder)
    assert facts.best is not None
    assert facts.trainable.metric == "val_accuracy"
    assert facts.space.notices == ()


def test_a_copy_of_each_version_of_the_file_is_kept(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "run")
    path = tmp_path / "mine.py"
    for content, name in (("a = 1\n", "mine-1.py"), ("a = 2\n", "mine-2.py"), ("a = 3\n", "mine-2.py")):
        path.write_text(content)
        ledger.keep_copy(path, "trainable", name)
    copies = {copy.name: copy.read_text() for copy in (ledger.folder / "trainable").iterdir()}
    assert copies == {"mine-1.py": "a = 1\n", "mine-2.py": "a = 2\n"}


def test_a_value_that_others_rule_out_is_no_end_of_the_range(tmp_path: Path) -> None:
    """`weights: hub` goes with no resnet20, the trainable's default: that is nothing about lr."""
    space = load_space("finetune", overrides=["search.data=digits"], spaces_dir=SPACES)
    trainable = space.trainable.load()
    record = record_of(space, trainable)
    assert record.hparams["lr"].refused_from == {}
    assert record.hparams["drop_path_rate"].refused_from == {}  # resnet18 of trial 0 takes none at all
    assert record.as_trainable().hparams().lr == trainable.hparams().lr
