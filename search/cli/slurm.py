"""The command that has Slurm run a search: it writes the batch script and submits it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from search.cli import search
from search.cli.parser import CommandParser, count

_EXAMPLES = """examples:
  {command} submit --space lr_bs.yaml --nodes 4 --gpus-per-node 8 --time 4:00:00
  {command} submit --space lr_bs.yaml --nodes 1 --cpus-per-node 16 --time 90 --trials 200 -- --qos=short
  {command} submit --space lr_bs.yaml --nodes 2 --gpus-per-node 4 --time 1-0 --dry-run

Every flag of `jouletune search` can also be given, and every flag of sbatch after a lone --.

exit status: 0 submitted, or printed; 1 sbatch refused the job: its message is printed as it is;
2 unusable input: nothing was submitted"""
# Flags of search that a job cannot have, and why.
_NOT_IN_A_JOB = {
    "--address": "the job starts Ray on its own nodes",
    "--dashboard": "it would listen on the loopback address of a node",
    "--governor": "it sets the CPUs of one machine only",
    "--fresh": "each time the job resumes it would begin another run; give another --name",
    "--rerun-failed": "each time the job resumes it would try the failed trials again",
}


class _SubmitParser(CommandParser):
    """Separates its own flags from those of search on one command line.

    The options are those of both, plus `search_words`, the flags of search as they were typed, and
    `sbatch_flags`.
    """

    def parse_args(  # type: ignore[override]  # as of CommandParser
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Return the options, or end the process with status 2 if a word is not expected."""
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        _, search_words = self.parse_known_args(words[:end])
        both = search.parser(self.prog)  # knows the nearest flag of either for a mistyped one
        _add_allocation(both)
        options = both.parse_args(words[:end], namespace)
        options.search_words, options.sbatch_flags = search_words, words[end + 1 :]
        if mistake := _mistake(options):
            self.error(mistake)
        return options


def parser(prog: str = "jouletune slurm") -> CommandParser:
    """The flags of the command, without those of search."""
    flags = _SubmitParser(
        prog=prog,
        description="Run a search as a Slurm job, which starts Ray on its nodes and, at its time limit, "
        "queues itself again until the search has ended.",
        epilog=_EXAMPLES,
    )
    _add_allocation(flags)
    flags.add_argument("--dry-run", action="store_true", help="print the batch script and submit nothing")
    return flags


def _add_allocation(flags: CommandParser) -> None:
    add = flags.add_argument
    add("action", choices=["submit"], help="what to do")
    add("--nodes", type=count, required=True, metavar="N", help="number of nodes")
    add(
        "--time",
        required=True,
        metavar="T",
        help="time limit of one job, in the format of sbatch, such as 4:00:00",
    )
    add("--gpus-per-node", type=count, metavar="N", help="GPUs of each node (default: none)")
    add("--cpus-per-node", type=count, metavar="N", help="cores of each node (default: whole nodes)")
    add("--partition", metavar="NAME", help="partition (default: the cluster's)")
    add("--account", metavar="NAME", help="account to charge (default: the user's)")


def main(options: argparse.Namespace) -> int:
    """Print the batch script with --dry-run, else submit it, and return the exit status."""
    from search.bucket.address import is_address
    from search.errors import UserError
    from search.launch import run_name
    from search.ledger import named_folder
    from search.slurm.job import Allocation, job_script, submit
    from search.space import load_space

    if is_address(options.results):
        raise UserError("--results of a job must be a folder that all nodes share, not a bucket")
    space = load_space(options.space, overrides=search.overrides(options))
    name = options.name or run_name(space)
    folder = named_folder(options.results.absolute(), name)
    allocation = Allocation(
        nodes=options.nodes,
        time=options.time,
        gpus_per_node=options.gpus_per_node or 0,
        cpus_per_node=options.cpus_per_node,
        partition=options.partition,
        account=options.account,
        sbatch_flags=options.sbatch_flags,
    )
    words = [*options.search_words, *([] if options.name else ["--name", name])]
    script = job_script(folder, words, allocation, grace_s=space.limits.grace_s)
    if options.dry_run:
        print(script, end="")
        return 0
    job = submit(script, folder)
    print(f"job {job} was submitted: squeue --job={job} shows its state, scancel {job} ends it")
    print(f"it prints to {folder}/slurm-{job}.log")
    return 0


def _mistake(options: argparse.Namespace) -> str | None:
    """What is wrong with flags of search in a job, or None."""
    if options.backend == "local":
        return "--backend local trains in one process, and starts nothing on other nodes"
    for flag, reason in _NOT_IN_A_JOB.items():
        if getattr(options, flag[2:].replace("-", "_")) not in (None, False):
            return f"{flag} cannot be used in a job: {reason}"
    return None if options.space else "the following arguments are required: --space"
