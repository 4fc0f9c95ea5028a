"""What a training that has ended leaves: the best weights of the top rung, without an optimiser's state."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from search.backends.local import execute_here
from search.budget import Ladder
from search.ledger import Ledger
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.space.load import load_space
from search.tables import TrialHistories
from search.trial import Checkpointing, run_trial
from search.trial.checkpoints import SavedState, read_file
from tests.support.toy_runs import SteadyMeter, executed, fateful_space, listed, made_space
from trainables.core.checkpoint import UnreadableCheckpoint, load_checkpoint
from trainables.core.contract import Budget, TrainingContext
from trainables.core.load import load_trainable

NUM_WEIGHTS = 1_199_882  # of the CNN: convolutions 320 and 18,496, layers 1,179,776 and 1,290
LADDER = Ladder((Budget(epochs=1, subset=0.1), Budget(epochs=3, subset=0.1)))


def trained(folder: Path, *, count: int = 9, **options: Any) -> list[Any]:
    """The rows of a small classifier of digits, with AdamW: its state is three times its weights."""
    family = load_trainable("classification")
    hparams = family.hparams(model="mnist_cnn", optimizer="adamw", lr=1e-3, batch_size=64)
    context = TrainingContext(
        data="digits", data_seed=0, seed=0, cache_dir=folder / "cache", precision="fp32", resolution=28
    )
    rows = run_trial(
        family,
        hparams,
        LADDER,
        context,
        SteadyMeter(),
        checkpointing=Checkpointing(path=folder / "checkpoint.pt"),
        identity={"run": "r", "trial": "t", "trainable": "classification"},
        **options,
    )
    return [row for _, row in zip(range(count), rows, strict=False)]


def test_a_searchs_trial_keeps_the_best_weights_of_the_top_rung(tmp_path: Path) -> None:
    best = tmp_path / "best.pt"
    rows = trained(tmp_path, count=1, best=best)
    assert not best.exists()  # so far it was at the lower rung
    rows = trained(tmp_path, best=best)
    saved = SavedState.from_dict(load_checkpoint(best))
    scores = {row.epoch: row.metrics["val_accuracy"] for row in rows if row.rung == 1}
    assert saved.row.epoch == max(scores, key=lambda epoch: (scores[epoch], -epoch))
    assert saved.training.keys() == {"model"}
    assert best.stat().st_size < 0.36 * (tmp_path / "checkpoint.pt").stat().st_size
    assert not (tmp_path / "final.pt").exists()


def test_weights_alone_are_not_resumed_from(tmp_path: Path) -> None:
    trained(tmp_path, best=tmp_path / "best.pt")
    with pytest.raises(UnreadableCheckpoint, match=r"best.pt holds weights without the optimiser's state"):
        read_file(tmp_path / "best.pt", {})
    assert read_file(tmp_path / "checkpoint.pt", {}).epochs_done == 3


def test_a_full_training_leaves_weights_and_a_model_in_half_precision_if_that_is_asked(
    tmp_path: Path,
) -> None:
    for name, options in (("full", {}), ("half", {"weights_format": "fp16"})):
        folder = tmp_path / name
        trained(folder, final=folder / "final.pt", model=folder / "model", **options)
    full, half = tmp_path / "full", tmp_path / "half"
    for name in ("best.pt", "final.pt", "model/model.safetensors"):
        assert (half / name).stat().st_size < 0.52 * (full / name).stat().st_size
    assert load_checkpoint(half / "final.pt")["model"]["head.weight"].dtype == torch.float16
    # A training goes on in fp32 whatever is left of it.
    state, other = (load_checkpoint(each / "checkpoint.pt")["model"] for each in (full, half))
    assert all(torch.equal(state[each], other[each]) for each in state)


def test_a_formula_leaves_no_weights(tmp_path: Path) -> None:
    run, _ = executed(fateful_space(tmp_path), tmp_path, listed({"fate": "fine", "score": 0.5}))
    assert list(run.ledger.trials_folder.rglob("best.pt")) == []


def test_the_best_trials_checkpoint_goes_where_its_weights_are_left(tmp_path: Path) -> None:
    run, _ = executed(fateful_space(tmp_path), tmp_path, listed({"fate": "fine", "score": 0.5}))
    (trial_id,) = run.history.trials
    files = run.ledger.trial(trial_id)
    CheckpointRetention(run)
    assert files.checkpoint.exists()
    files.best.write_bytes(b"weights")
    CheckpointRetention(run)
    assert not files.checkpoint.exists()
    assert files.best.exists()


@pytest.mark.parametrize(("form", "bytes_each"), [("fp32", 4), ("fp16", 2)])
def test_six_trials_leave_their_weights_to_the_byte_and_no_optimiser_state(
    tmp_path: Path, form: str, bytes_each: int
) -> None:
    text = (
        "parameters: {lr: {min: 0.001, max: 0.1}}\n"
        "search: {trainable: classification, data: digits, precision: fp32,\n"
        f"  ladder: {{epochs: [1], subset: 64}}, promote: {{weights: {form}}}}}\n"
    )
    space = made_space(tmp_path, text=text)
    hparams = {**space.default_hparams(space.trainable.load()), "model": "mnist_cnn", "optimizer": "adamw"}
    points = [{**hparams, "batch_size": 8, "lr": lr} for lr in (1e-4, 2e-4, 3e-4, 1e-3, 2e-3, 3e-3)]
    run = Run(space, listed(*points), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    files = [run.ledger.trial(trial_id) for trial_id in run.history.trials]
    assert len(files) == 6
    assert not any(each.checkpoint.exists() for each in files)
    for each in files:
        weights = load_checkpoint(each.best)["model"].values()
        assert sum(value.numel() for value in weights) == NUM_WEIGHTS
        assert sum(value.nbytes for value in weights) == bytes_each * NUM_WEIGHTS
        # What is beside them in the file: names, the epoch's row, whose it is.
        assert 0 < each.best.stat().st_size - bytes_each * NUM_WEIGHTS < 20_000


def test_every_trial_of_a_search_leaves_its_history(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": 0.5}, {"fate": "fine", "score": 0.4}, {"fate": "error", "score": 0.3}]
    run = Run(fateful_space(tmp_path), listed(*points), Ledger.create(tmp_path / "run"))
    run.observe(TrialHistories(run))
    execute_here(run, SteadyMeter())
    lengths = {}
    for trial_id, trial in run.history.trials.items():
        path = run.ledger.trial(trial_id).history
        lengths[trial_id] = 0
        if path.is_file():
            with path.open(newline="") as file:
                epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
            assert epochs == list(trial.curve)
            lengths[trial_id] = len(epochs)
    assert lengths["trial-0000"] == 3
    assert len([each for each in lengths.values() if each]) >= 2


def test_the_format_of_weights_is_a_setting_of_the_space(tmp_path: Path) -> None:
    space = load_space("lr_bs.yaml", overrides=[], spaces_dir=Path(__file__).parents[2] / "spaces")
    assert space.promote.weights == "fp32"
