"""The promote command: full training of the best trials of a run."""

from __future__ import annotations

import argparse
import sys

from search.cli.parser import CommandParser, chosen_output, count, launch_settings, print_json

_EPILOG = """examples:
  {command} results/lr_bs --top 3
  {command} lr_bs --top 1 --seeds 5
  {command} lr_bs --baseline hog_svm --baseline linear_probe

exit status: 0 done; 1 a training failed; 2 unusable input; 3 disk full or not writable; 4 Ray was
lost; 130 ended at once by a second Ctrl-C"""


def parser(prog: str = "promote.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Train the best trials of a run at full budget with fresh seeds, and the default "
        "configuration beside them; evaluate each training once on the test set.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    flags.add_run()
    flags.add_set("override a key of the run's space, such as search.trainable=PATH if the file has moved")
    add("--top", type=count, metavar="N", help="number of best trials to retrain (default: from the space)")
    add("--seeds", type=count, metavar="N", help="trainings of each trial (default: from the space)")
    add("--epochs", type=count, metavar="N", help="epochs of each training (default: from the space)")
    add(
        "--baseline",
        action="append",
        default=[],
        choices=("hog_svm", "linear_probe", "knn"),
        help="add a baseline on the same data, trained on the CPU; repeatable: histograms of gradients with "
        "a linear SVM, or a linear layer or nearest neighbours on the features of the winner's pretrained "
        "network",
    )
    flags.add_results()
    add("--workers", type=count, metavar="N", help="number of concurrent trainings (default: as many as fit)")
    add(
        "--share-gpus",
        action="store_true",
        help="give each training the GPU fraction of a trial (default: a whole GPU, to measure it alone)",
    )
    add(
        "--processes-per-trial",
        type=count,
        metavar="N",
        help="train each in N processes, each with its own GPU or cores (default: 1, or as many as there are "
        "GPUs for each training)",
    )
    add("--skip-preflight", action="store_true", help="start without checking what the trainings will need")
    add("--no-report", action="store_true", help="do not update the run's report.html")
    flags.add_backend("trainings")
    flags.add_machine()
    flags.add_output()
    return flags


def main(options: argparse.Namespace) -> int:
    """Promote and return the exit status."""
    from search import api

    promotion = api.promote(
        options.run,
        results=options.results,
        overrides=options.set,
        top=options.top,
        seeds=options.seeds,
        epochs=options.epochs,
        baselines=options.baseline,
        workers=options.workers,
        num_processes=options.processes_per_trial,
        should_share_gpus=options.share_gpus,
        output=chosen_output(options),
        command=sys.argv,
        **launch_settings(options),
    )
    if options.json:
        print_json(promotion.answer)
    return 0 if promotion.is_complete else 1
