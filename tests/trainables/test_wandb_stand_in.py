"""What training scripts in the wild do with wandb beside `init` and `log`, with the stand-in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_spaces import scores, started
from trainables.core.contract import Budget, ScriptFailed

FOUR = Budget(epochs=4)


@pytest.mark.parametrize("ending", ['run.summary["val_acc"] = 0.9', 'wandb.summary.update({"val_acc": 0.9})'])
def test_a_summary_of_a_name_that_is_logged_is_no_further_epoch(tmp_path: Path, ending: str) -> None:
    script = f"""
        import wandb
        run = wandb.init()
        for epoch, accuracy in enumerate((0.9, 0.1)):
            run.log({{"epoch": epoch, "val_acc": accuracy}})
        {ending}
    """
    training = started(tmp_path, script, metrics="wandb")
    assert scores(training) == [0.9, 0.1, 0.1]
    assert training.done_reason == "the script ended by itself after epoch 2"  # type: ignore[attr-defined]


def test_a_score_without_an_epoch_is_of_the_epoch_that_the_row_before_it_said(tmp_path: Path) -> None:
    script = """
        import wandb
        wandb.init()
        for epoch in range(1, 5):
            wandb.log({"epoch": epoch, "train/loss": 1 / epoch})
            if epoch % 2 == 0:
                wandb.log({"val_acc": epoch / 8})
    """
    training = started(tmp_path, script, FOUR, metrics="wandb")
    assert scores(training, FOUR) == [-1.0, 0.25, -1.0, 0.5]


def test_scores_of_whole_epochs_among_batches_in_fractions_are_counted_from_1(tmp_path: Path) -> None:
    script = """
        import wandb
        wandb.init()
        for epoch in range(3):
            for batch in range(4):
                wandb.log({"epoch": epoch + batch / 4, "loss": 1.0})
            wandb.log({"epoch": epoch + 1.0, "val_acc": (epoch + 1) / 8})
    """
    assert scores(started(tmp_path, script, metrics="wandb")) == [0.125, 0.25, 0.375]


def test_scores_before_the_batches_of_their_epoch_are_counted_from_0(tmp_path: Path) -> None:
    script = """
        import wandb
        wandb.init()
        for epoch in range(3):
            for batch in range(4):
                wandb.log({"epoch": epoch + batch / 4, "loss": 1.0})
            wandb.log({"epoch": epoch, "val_acc": (epoch + 1) / 8})
    """
    assert scores(started(tmp_path, script, metrics="wandb")) == [0.125, 0.25, 0.375]


def test_modules_and_calls_that_have_nothing_to_do_with_scores_are_accepted(tmp_path: Path) -> None:
    script = """
        import wandb
        import wandb.util
        from wandb import AlertLevel
        from wandb.errors import CommError, UsageError
        from wandb.sdk.lib import RunDisabled
        from wandb.sdk.lib.config_util import ConfigError
        from wandb.wandb_run import Run
        assert len(wandb.util.generate_id()) == 8 and issubclass(CommError, wandb.Error)
        wandb.init(settings=wandb.Settings(start_method="thread"), mode="online", reinit=True)
        assert isinstance(wandb.run, Run)
        wandb.alert(title="t", text="t", level=AlertLevel.WARN)
        wandb.run._label(code="trainer")
        wandb.log({"h": wandb.Histogram([1]), "p": wandb.plot.line_series(xs=[1], ys=[[1]], keys=["a"])})
        for epoch in range(3):
            wandb.log({"epoch": epoch, "val_acc": (epoch + 1) / 8})
        wandb.run.finish()
    """
    assert scores(started(tmp_path, script, metrics="wandb")) == [0.125, 0.25, 0.375]


def test_a_module_that_the_stand_in_lacks_says_how_to_have_the_real_one(tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed) as raised:
        scores(started(tmp_path, "from wandb.integration.sb3 import WandbCallback", metrics="wandb"))
    message = str(raised.value)
    assert "ModuleNotFoundError: the search's stand-in for wandb has no module wandb.integration" in message
    assert "write `metrics: {wandb: {real: true}}` to have the installed wandb" in message
