"""The flags of a load beside the trials, alike for search and promote."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.trial.background import BackgroundSpec


def add_background_flags(flags: argparse.ArgumentParser) -> None:
    """Add --background and --background-share."""
    flags.add_argument(
        "--background",
        metavar="SPACE",
        help="train this space's default configuration again and again on the same device meanwhile",
    )
    flags.add_argument(
        "--background-share",
        type=_share,
        metavar="S",
        help="of the GPU, for the load (default: what a trial leaves, or 0.5)",
    )


def background_pair(options: argparse.Namespace) -> BackgroundSpec | None:
    """What the flags ask for; None where they ask for no load.

    Raises:
        SpaceError: The load's space cannot be used.
        SessionError: The flags contradict each other.
    """
    from search.backends.errors import SessionError

    if options.background is None:
        if options.background_share is not None:
            raise SessionError("--background-share says how much --background SPACE takes: give both")
        return None
    if options.address:
        raise SessionError("--background loads this machine's device: leave --address out")
    from search.space import SPACES, load_space
    from search.trial.background import BackgroundSpec

    space = load_space(options.background, spaces_dir=SPACES, may_be_fixed=True)
    return BackgroundSpec(space=space, share=options.background_share)


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, got {text}")
    return share
