"""The train command: one configuration in this process, without Ray."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli.parser import CommandParser, count, space_overrides

if TYPE_CHECKING:
    from search.training import TrainingRequest

_EPILOG = """examples:
  {command} --space lr_bs.yaml --hparam lr=0.05 --hparam batch_size=64
  {command} --space lr_bs.yaml --trial results/lr_bs:trial-0007 --out final
  {command} --space lr_bs.yaml --set search.ladder.epochs=[1,2,6] --resize 1:14,3:20,5:28
  {command} --space lr_bs.yaml --out final --keep-every 2
  {command} --space lr_bs.yaml --out final --resume final/epoch-0004.pt
  {command} --space lr_bs.yaml --smoke
  {command} --space lr_bs.yaml --lr-range

exit status: 0 done; 1 the training or a check failed; 2 unusable input"""


def parser(prog: str = "train.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Train one configuration of a space up its ladder, in this process: to debug it, to try "
        "it out, or for a final full training.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    add("--space", required=True, metavar="FILE", help="a name in spaces/, or a path")
    flags.add_data()
    flags.add_set()
    flags.add_budget()
    add(
        "--hparam",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace the default of a hyperparameter; repeatable",
    )
    add("--trial", metavar="RUN:TRIAL", help="use the hyperparameters of a trial of an earlier run")
    add(
        "--seed",
        type=int,
        metavar="N",
        help="seed of weights, order and augmentation (default: from the space)",
    )
    add("--full", action="store_true", help="train at the top rung from the first epoch, as promotion does")
    add(
        "--resize",
        type=resize_schedule,
        metavar="EPOCH:PX,...",
        help="increase the resolution during a full training, such as 1:14,3:20,5:28; scored at "
        "the last resolution",
    )
    _add_states(flags)
    _add_checks(flags)
    add("--device", default="cpu", help="a torch device (default: cpu)")
    return flags


def _add_states(flags: CommandParser) -> None:
    add = flags.add_argument
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep the checkpoint here; a second call with the same settings resumes from it",
    )
    add(
        "--resume",
        type=Path,
        metavar="FILE",
        help="resume from this state instead: a checkpoint.pt or epoch-0010.pt of the same settings",
    )
    add(
        "--test",
        action="store_true",
        help="evaluate on the test set at the end; final.pt and the tables go to --out (default: here)",
    )
    add(
        "--keep-every",
        type=count,
        metavar="N",
        help="also keep the state after every N epochs in --out, as epoch-0010.pt and so on",
    )


def _add_checks(flags: CommandParser) -> None:
    checks = flags.add_mutually_exclusive_group()
    checks.add_argument(
        "--smoke",
        type=count,
        nargs="?",
        const=64,
        metavar="N",
        help="run a minute of checks instead, on N examples (64): trains, scores, resumes bit for bit, "
        "overfits",
    )
    checks.add_argument(
        "--probe",
        action="store_true",
        help="only measure the memory that the top rung needs: two steps and one scored batch",
    )
    checks.add_argument(
        "--lr-range",
        type=count,
        nargs="?",
        const=100,
        metavar="N",
        help="train N steps (100) at rising learning rates instead; prints the range where the loss falls "
        "and whether the space searches it; lr_range.csv and .png go to --out (default: here)",
    )
    checks.add_argument(
        "--overfit",
        type=count,
        metavar="N",
        help="overfit N examples instead, without augmentation; if that fails, prints what to check",
    )


def main(options: argparse.Namespace) -> int:
    """Train, print a line per epoch, and return the exit status."""
    from search import training_checks
    from search.output import Output

    has_passed = training_checks.train_or_check(
        _request(options),
        Output(),
        smoke=options.smoke,
        overfit=options.overfit,
        should_probe=options.probe,
        lr_range=options.lr_range,
    )
    return 0 if has_passed else 1


def _request(options: argparse.Namespace) -> TrainingRequest:
    """The training that the flags ask for; flags that exclude each other end the command."""
    from search.training import TrainingRequest

    if options.keep_every is not None and options.out is None:
        options.refuse("--keep-every needs --out DIR, where the states are kept")
    is_check = options.probe or options.smoke is not None or options.overfit is not None
    is_check = is_check or options.lr_range is not None
    if options.lr_range is not None and options.lr_range < 20:
        options.refuse(f"--lr-range needs at least 20 steps, got {options.lr_range}")
    given = {"--resume": options.resume, "--test": options.test, "--keep-every": options.keep_every}
    if is_check and (idle := [flag for flag, value in given.items() if value]):
        what = f"{' and '.join(idle)} {'goes' if len(idle) == 1 else 'go'} with a training"
        options.refuse(f"{what}, not with --smoke, --probe, --overfit or --lr-range")
    return TrainingRequest(
        space=options.space,
        overrides=space_overrides(options),
        hparams=options.hparam,
        trial=options.trial,
        seed=options.seed,
        is_full=options.full,
        resize=options.resize or (),
        out=options.out,
        resume=options.resume,
        should_test=options.test,
        keep_every=options.keep_every,
        device=options.device,
        is_check=is_check,
    )


def resize_schedule(text: str) -> list[tuple[int, int]]:
    """Parse epochs with resolutions in pixels: "1:14,3:20"."""
    try:
        pairs = [[int(number) for number in pair.split(":")] for pair in text.split(",")]
        return [(epoch, resolution) for epoch, resolution in pairs]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"write EPOCH:PX,..., such as 1:14,3:20,5:28, got {text!r}"
        ) from None
