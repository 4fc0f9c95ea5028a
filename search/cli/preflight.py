"""The preflight command: everything that can be known to fail, before a search."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from search.cli.parsing import CommandParser
from search.cli.runs import add_results_flag, space_words

if TYPE_CHECKING:
    from search.preflight import PreflightRequest, Report

_EXAMPLE = """examples:
  python scripts/preflight.py --space lr_bs.yaml
  python scripts/preflight.py --space lr_bs.yaml --download
  python scripts/preflight.py --space spaces/*.yaml --trial --json

exit status: 0 nothing will fail that can be known; 2 problems, each with its remedy;
4 the Ray of --address was lost meanwhile"""


def parser() -> argparse.ArgumentParser:
    """The flags of scripts/preflight.py."""
    flags = CommandParser(
        prog="preflight.py",
        description="Look, in the workers' environment, at what the trials of a space will need: "
        "weights, data, disk, memory, GPUs, sensors and versions.",
        epilog=_EXAMPLE,
    )
    add = flags.add_argument
    add("--space", required=True, nargs="+", metavar="FILE", help="names in spaces/, or paths")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file")
    add("--download", action="store_true", help="fetch missing weights; nothing else uses the network")
    add("--trial", action="store_true", help="also train each model for an epoch of 64 examples")
    add_results_flag(flags, "where runs are to be written")
    add("--address", metavar="HOST:PORT", help="look at every node of a running Ray cluster")
    add("--json", action="store_true", help="print the findings as JSON")
    return flags


def main(options: argparse.Namespace) -> int:
    """Look, print what was found, and give the exit status."""
    from search.output import Output
    from search.preflight import PreflightError, request_for
    from search.preflight.request import problems_of
    from search.report.preflight import print_reports
    from search.space import SPACES, load_space

    output = Output()
    problems: list[str] = []
    findings = {}
    for source in options.space:
        space = load_space(source, overrides=options.set, spaces_dir=SPACES, may_be_fixed=True)
        words = space_words(source, options.set)
        order = request_for(space, source=words, folder=options.results / space.name)
        reports = _reports(
            replace(order, is_fetching=options.download, is_trying=options.trial),
            options.address,
            has_json=options.json,
        )
        findings[source] = [report.to_dict() for report in reports]
        problems += problems_of(reports)
        if not options.json:
            output.print(space.name, style="bold")
            print_reports(reports, output)
    if options.json:
        print(json.dumps({"problems": problems, "spaces": findings}, indent=2))
    if problems and not options.json:
        raise PreflightError(problems, has_way_round=False)
    if not problems and not options.json:
        output.print("ready: no problem found", style="green")
    return 2 if problems else 0


def _reports(order: PreflightRequest, address: str | None, *, has_json: bool) -> list[Report]:
    from search.backends.ray.cluster import ray_session
    from search.output import Output
    from search.preflight.local import examining_here

    if order.is_fetching:
        os.environ["HF_HUB_OFFLINE"] = "0"  # read once, when the child imports the hub's client
    if address is None:
        output = Output(has_json=has_json)
        with examining_here(order) as reports, output.status("preflight") as status:
            return reports(status.update)
    with ray_session(address=address):
        from search.backends.ray.preflight import examine_nodes

        return examine_nodes(order)
