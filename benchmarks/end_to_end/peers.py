"""Stock Ray Tune, plain Optuna and full trainings of random points, each as in its documentation.

python -m benchmarks.end_to_end.peers ray_tune DATA TRACE SEED
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.plain_training import NUM_EPOCHS, train
from benchmarks.end_to_end.trace import Recorder

NUM_TRIALS = 16
_REDUCTION_FACTOR = 3  # rungs at 1, 3 and 9 epochs, like ours
_NUM_FULL = 8  # full trainings of random points: more epochs than any of the others trains
_LR, _WEIGHT_DECAY, _BATCH_SIZES = (1e-3, 1.0), (1e-5, 1e-2), (16, 32, 64, 128, 256)


def with_ray_tune(data: Path, recorder: Recorder, seed: int) -> None:
    """`tune.Tuner` with OptunaSearch and ASHA, everything else by default."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    class Trace(tune.Callback):
        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            recorder.add(trial.trial_id, trial.config, result["val_accuracy"])

    def trainable(config: Mapping[str, float]) -> None:
        for accuracy in train(config, data, seed=seed):
            tune.report({"val_accuracy": accuracy})

    with tempfile.TemporaryDirectory() as storage:
        tuner = tune.Tuner(
            trainable,
            param_space={
                "lr": tune.loguniform(*_LR),
                "batch_size": tune.choice(_BATCH_SIZES),
                "weight_decay": tune.loguniform(*_WEIGHT_DECAY),
            },
            tune_config=tune.TuneConfig(
                metric="val_accuracy",
                mode="max",
                num_samples=NUM_TRIALS,
                search_alg=OptunaSearch(seed=seed),
                scheduler=ASHAScheduler(max_t=NUM_EPOCHS, grace_period=1, reduction_factor=_REDUCTION_FACTOR),
            ),
            run_config=tune.RunConfig(storage_path=storage, callbacks=[Trace()]),
        )
        tuner.fit()


def with_optuna(data: Path, recorder: Recorder, seed: int) -> None:
    """TPE and the Hyperband pruner, one trial after another."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        hparams = {
            "lr": trial.suggest_float("lr", *_LR, log=True),
            "batch_size": trial.suggest_categorical("batch_size", _BATCH_SIZES),
            "weight_decay": trial.suggest_float("weight_decay", *_WEIGHT_DECAY, log=True),
        }
        accuracy = 0.0
        for epoch, accuracy in enumerate(train(hparams, data, seed=seed), start=1):
            recorder.add(str(trial.number), hparams, accuracy, level=int(epoch == NUM_EPOCHS))
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    pruner = optuna.pruners.HyperbandPruner(
        min_resource=1, max_resource=NUM_EPOCHS, reduction_factor=_REDUCTION_FACTOR
    )
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner
    )
    study.optimize(objective, n_trials=NUM_TRIALS)


def with_random_points(data: Path, recorder: Recorder, seed: int) -> None:
    """Random points, each trained in full."""
    draw = random.Random(seed)
    for number in range(_NUM_FULL):
        hparams = {
            "lr": _log_uniform(draw, *_LR),
            "batch_size": draw.choice(_BATCH_SIZES),
            "weight_decay": _log_uniform(draw, *_WEIGHT_DECAY),
        }
        for epoch, accuracy in enumerate(train(hparams, data, seed=seed), start=1):
            recorder.add(str(number), hparams, accuracy, level=epoch)


def _log_uniform(draw: random.Random, low: float, high: float) -> float:
    return float(low * (high / low) ** draw.random())


PEERS: Mapping[str, Callable[[Path, Recorder, int], None]] = {
    "ray_tune": with_ray_tune,
    "optuna": with_optuna,
    "random": with_random_points,
}

if __name__ == "__main__":
    _, who, data_folder, trace_file, of_seed = sys.argv
    PEERS[who](Path(data_folder), Recorder(Path(trace_file)), int(of_seed))
