"""Seeds of the process that trains, for what a trainable does not seed itself."""

from __future__ import annotations

import random
import sys


def seed_all(seed: int) -> None:
    """Seed random, numpy and torch: a trainable that does not do so finds the same state in any worker."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) and hasattr(torch, "manual_seed"):
        torch.manual_seed(seed)
