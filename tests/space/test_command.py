"""A space over a script: every problem in one message, nothing lost between the file and the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.energy.processes import ProcessTable
from search.ledger import Ledger
from search.promotion import chosen, full_training, proposals
from search.run import Run
from search.run.checkpoint_retention import CheckpointRetention
from search.sampling.proposal import FixedList
from search.space import Space, SpaceError, dump_space, load_space
from search.tables import promoted_rows
from tests.support.command_spaces import SCRIPT, made_command
from tests.support.toy_runs import SteadyMeter, executed, made_space, sampler_for
from trainables.core.contract import Budget, TrainingContext

SPACE = """
parameters:
  lr: {distribution: log_uniform_values, min: 1e-7, max: 1.0}
search:
  trainable: command
  command:
    run: "{python} script.py --epochs {epochs} --seed {seed} --out {checkpoint_dir}"
    resume: --resume {checkpoint_dir}
    test: ["{python}", script.py, --test, --epochs, "{epochs}", --lr, "{lr}"]
    metric: val_acc
    mode: max
    defaults: {lr: 1e-7}
  ladder: {epochs: [1, 2, 3]}
  scheduler: {mode: asha, eta: 2}
  limits: {trials: 4}
"""


def space(folder: Path, *overrides: str) -> Space:
    (folder / "script.py").write_text(SCRIPT)
    return made_space(folder, SPACE, overrides)


def problems(folder: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(SpaceError) as caught:
        space(folder, *overrides)
    return caught.value.problems


def test_a_command_becomes_a_trainable_with_its_defaults_metric_and_mode(tmp_path: Path) -> None:
    read = space(tmp_path)
    trainable = read.trainable.load()
    assert (read.metric, read.mode, read.data) == ("val_acc", "max", "none")
    assert read.default_hparams(trainable) == {"lr": 1e-7}
    assert trainable.has_test
    assert read.title == "python script.py"
    assert read.notices == ()


def test_the_space_of_a_run_is_the_space_that_was_read(tmp_path: Path) -> None:
    read = space(tmp_path, "search.command.env={A: 1}", "parameters.steps.value=3")
    (tmp_path / "results").mkdir()
    dump_space(read, tmp_path / "results/space.yaml")
    again = load_space(str(tmp_path / "results/space.yaml"), spaces_dir=tmp_path)
    assert again == read
    description = again.trainable.command
    assert description
    assert description["defaults"] == {"lr": 1e-7, "steps": 3}
    assert description["folder"] == str(tmp_path)


def test_metric_and_mode_may_stand_where_a_sweep_file_has_them(tmp_path: Path) -> None:
    keys = (
        "search.command.metric=null",
        "search.command.mode=null",
        "metric={name: val_loss, goal: minimize}",
    )
    read = space(tmp_path, *keys)
    assert (read.metric, read.mode) == ("val_loss", "min")


def test_a_whole_default_of_a_range_of_fractions_is_a_fraction(tmp_path: Path) -> None:
    read = space(tmp_path, "search.command.defaults.lr=1")
    assert repr(read.default_hparams(read.trainable.load())) == "{'lr': 1.0}"


def test_every_problem_comes_in_one_message(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "search.command.run=no-such-program scrip.py --x {lrr} --epochs {epochs}",
        "search.command.resume=--resume",
        "search.command.defaults={}",
        "search.command.metric=null",
        "search.command.flags={lx: --lx}",
        "parameters.seed.values=[1, 2]",
        "parameters.weight-decay.values=[1, 2]",
        "search.command.mode=null",
        "search.precision=bf16",
        "search.validation_resolution=rung",
    )
    missing = "is missing; give its value in trial 0, which the others are compared with"
    assert found == (
        *(f"search.command.defaults: {name} {missing}" for name in ("lr", "weight-decay")),
        "parameters.seed: is not a hyperparameter: seeds are not searched: search.seed seeds the search, "
        "promotion trains each configuration with promote.seeds seeds, and search.repeats repeats a list or "
        "design. The script gets it where its command has {seed}",
        "search.command.flags.lx: is not a hyperparameter (there are lr, seed, weight-decay)",
        "search.command.run: {lrr} is not known; did you mean lr?",
        "search.command.resume: needs {checkpoint_dir}, where the script keeps its state, here or in run",
        "search.validation_resolution: a command decides this by itself; leave it out",
        "search.precision: a command decides this by itself; leave it out",
        "search.command.run: there is no program 'no-such-program'; {python} is the Python that runs this",
        f"search.command.run: there is no file scrip.py in {tmp_path}",
        "search.command.metric: is missing; name the value that the script prints",
        "search.command.mode: is missing; write max or min",
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "search.command=null",
            "search.command: is missing or has no run; write command: {run: python train.py ",
        ),
        ("search.trainable=toy", "search.command: is for trainable: command; write that, or leave this out"),
        ("search.command.runs=x", "search.command.runs: there is no such key; did you mean run?"),
        ("search.command.run=it's", "search.command.run: cannot be split into words: No closing quotation"),
        (
            "search.command.run=python {lr:.2f}",
            "search.command.run: '{lr:.2f}': only a name may stand between braces",
        ),
        ("search.command.run=python {", "search.command.run: '{': "),
        ("search.command.defaults={lr: [1]}", "search.command.defaults.lr: must be a number, got [1]"),
        ("search.command.defaults={lr: fast}", "search.command.defaults.lr: must be a number, got the text"),
        ("search.command.folder=nowhere", "search.command.folder: "),
        ("search.command.timeout_s=0", "search.command.timeout_s: must be above 0, got 0"),
        ("search.horizon=anytime", "search.horizon: anytime needs a training that scores averaged weights"),
        ("search.ladder.subset=0.5", "search.ladder.subset: the command has no {subset}, so every rung"),
        (
            "search.ladder.resolution=28",
            "search.ladder.resolution: the command has no {resolution}, so every",
        ),
    ],
)
def test_a_problem_is_named_with_its_remedy(tmp_path: Path, override: str, problem: str) -> None:
    found = problems(tmp_path, override)
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.parametrize(
    ("run", "content", "mode", "problem"),
    [
        (
            "train.py {lr}",
            "",
            0o644,
            "'train.py' is no program in PATH, but a file in FOLDER; write {python} train.py",
        ),
        (
            "train.sh {lr}",
            "",
            0o644,
            "'train.sh' is no program in PATH, but a file in FOLDER; write bash train.sh",
        ),
        ("./train.sh {lr}", "", 0o644, "./train.sh is not executable; write bash ./train.sh"),
        ("./train {lr}", "", 0o644, "./train is not executable; chmod +x FOLDER/train"),
        (
            "./train {lr}",
            "python t.py",
            0o755,
            "./train has no first line such as #!/bin/bash; add it, or write bash ./train",
        ),
        (
            "./train {lr}",
            "#!/bin/sh\r\n",
            0o755,
            "./train has a first line that ends as on Windows; remove it: sed -i 's/\\r$//' FOLDER/train",
        ),
        ("./train {lr}", "#!/bin/sh\n", 0o755, ""),
        ("./train {lr}", "\x7fELF\0", 0o755, ""),
    ],
)
def test_a_script_that_cannot_be_started_says_what_to_write(
    tmp_path: Path, run: str, content: str, mode: int, problem: str
) -> None:
    script = tmp_path / run.split()[0]
    script.write_text(content)
    script.chmod(mode)
    override = f"search.command.run={run} {{checkpoint_dir}}"
    if not problem:
        assert space(tmp_path, override)
        return
    assert problems(tmp_path, override) == (
        f"search.command.run: {problem.replace('FOLDER', str(tmp_path))}",
    )


RUN = "{python} script.py --epochs {epochs} --seed {seed} --out {checkpoint_dir} --subset {subset}"


def test_rungs_that_differ_need_a_script_that_ends_with_them_or_begins_anew(tmp_path: Path) -> None:
    ladder = ("search.ladder.subset=[0.25, 0.5, 1.0]", f'search.command.run="{RUN}"')
    [problem] = problems(tmp_path, *ladder)
    assert problem.startswith("search.ladder.subset: differs between rungs, so the script must end with each")
    assert space(tmp_path, *ladder, "search.horizon=rung")
    assert space(tmp_path, ladder[0], f'search.command.run="{RUN} --until {{until}}"')


def test_what_a_command_does_not_take_is_reported(tmp_path: Path) -> None:
    read = space(
        tmp_path,
        'search.command.run="{python} script.py"',
        "search.command.resume=null",
        "search.command.test=null",
    )
    assert [notice.split(";")[0] for notice in read.notices] == [
        "search.command.run: without {epochs} the script itself decides what its schedules span",
        "search.command.run: without {seed} a promotion trains the same thing with every seed",
        "search.command.resume: not given",
        "search.command.test: not given",
    ]


def test_a_search_of_a_script_is_ranked_and_no_value_loses_a_digit(tmp_path: Path) -> None:
    run, reason = executed(space(tmp_path), tmp_path)
    assert reason == "all 4 trials done"
    trials = list(run.history.trials.values())
    assert trials[0].hparams == {"lr": 1e-7}
    assert {trial.status for trial in trials} <= {"finished", "paused"}
    assert max(trial.epochs for trial in trials) == 3
    for trial in trials:
        command = trial.notes["command"].split()
        assert float(command[command.index("--lr") + 1]) == trial.hparams["lr"]


def test_without_a_test_command_a_promotion_compares_validation_and_says_so(tmp_path: Path) -> None:
    run, _ = executed(space(tmp_path, "search.command.test=null"), tmp_path)
    trials = chosen(run.history, run.space, top=1)
    ledger = Ledger.create(tmp_path / "promotion")
    promotion = Run(full_training(run.space), FixedList(proposals(trials, [1, 2])), ledger, should_test=True)
    promotion.observe(CheckpointRetention(promotion))
    execute_here(promotion, SteadyMeter())
    best, default = promoted_rows(trials, promotion.history, run.space)
    assert (best["num_seeds"], best["num_failed"]) == (2, 0)
    assert best["test_mean"] is None
    assert best["gain_mean"] == pytest.approx(best["val_mean"] - default["val_mean"])
    assert best["conclusion"] == "no interval, on validation"  # the script's seeds agree to the last digit
    assert len(list(tmp_path.glob("promotion/trials/*/checkpoint/state.json"))) == 4


def test_a_scripts_checkpoint_goes_with_the_trials_own(tmp_path: Path) -> None:
    read = space(tmp_path, "search.scheduler.mode=asha_stopping")
    run = Run(read, sampler_for(read), Ledger.create(tmp_path / "run"))
    run.observe(CheckpointRetention(run))
    execute_here(run, SteadyMeter())
    best = run.ranking.best()
    assert best
    kept = {path.parts[-3] for path in (tmp_path / "run").glob("trials/*/checkpoint/state.json")}
    assert kept == {best.trial_id}


def test_the_cpu_time_of_a_script_and_of_its_children_is_the_trials(tmp_path: Path) -> None:
    script = """
        import os, subprocess, sys, time
        burn = "import time\\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", burn])
        exec(burn)
        print('{"val_acc": 0.5}', flush=True)
        time.sleep(600)
    """
    command = made_command(tmp_path, script, run=["{python}", "script.py"], resume=[], defaults={})
    trainable = command.load()
    env = TrainingContext(data="none", data_seed=0, seed=0, cache_dir=tmp_path, folder=tmp_path / "trial")
    training = trainable.start(trainable.hparams(), Budget(epochs=9), env)
    before_s = ProcessTable().tree_cpu_s(os.getpid(), 0.0)
    training.run_epoch(Budget(epochs=9))
    while_it_is_held_s = ProcessTable().tree_cpu_s(os.getpid(), 0.0)
    del training
    after_s = ProcessTable().tree_cpu_s(os.getpid(), 0.0)
    assert while_it_is_held_s - before_s >= 0.55  # twice 0.3 s, each in whole ticks of 10 ms
    assert after_s >= while_it_is_held_s


def test_a_pair_of_flags_needs_true_and_false(tmp_path: Path) -> None:
    pair = "search.command.flags={lr: --lr/--no-lr}"
    assert problems(tmp_path, pair) == (
        "search.command.flags.lr: is a pair, for true and false, and lr is 1e-07; give one flag, got "
        "--lr/--no-lr",
    )
    assert problems(tmp_path, "search.command.first_epoch=2")[0].startswith(
        "search.command.first_epoch: must be"
    )
