"""The preflight command: everything that can be known to fail, before a search."""

from __future__ import annotations

import argparse

from search.cli.parser import CommandParser, print_json, space_overrides

_EPILOG = """examples:
  {command} --space lr_bs.yaml
  {command} --space lr_bs.yaml --download
  {command} --space spaces/*.yaml --trial --json

exit status: 0 no problem found; 2 problems, each with its remedy; 4 the Ray cluster of
--address was lost"""


def parser(prog: str = "preflight.py") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Check, in the workers' environment, what the trials of a space will need: "
        "weights, data, disk, memory, GPUs, sensors and versions.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    add("--space", required=True, nargs="+", metavar="FILE", help="names in spaces/, or paths")
    flags.add_data()
    flags.add_set()
    flags.add_budget()
    add("--download", action="store_true", help="fetch missing weights; nothing else uses the network")
    add("--trial", action="store_true", help="also train each model for an epoch of 64 examples")
    flags.add_results("where runs will be written")
    add("--address", metavar="HOST:PORT", help="check every node of a running Ray cluster")
    add("--json", action="store_true", help="print the findings as JSON")
    return flags


def main(options: argparse.Namespace) -> int:
    """Check, print what was found, and return the exit status."""
    from search import api
    from search.output import Output
    from search.preflight import PreflightError

    output = Output(has_json=options.json)
    findings, problems = api.preflight(
        options.space,
        results=options.results,
        overrides=space_overrides(options),
        should_download=options.download,
        should_train=options.trial,
        address=options.address,
        output=output,
    )
    if options.json:
        spaces = {name: [report.to_dict() for report in reports] for name, reports in findings.items()}
        print_json({"problems": problems, "spaces": spaces})
    elif problems:
        raise PreflightError(problems, has_way_round=False)
    return 2 if problems else 0
