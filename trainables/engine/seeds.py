"""Random numbers that depend on what they are for, not on what was drawn before."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# Each kind of randomness has a stream of its own, so that a changed augmentation leaves the order of examples
# unchanged. These had the numbers 0 to 6 before purposes were hashed by name, and keep them, so that they
# still draw the same.
_NUMBERED = ("order", "augment", "mix", "pair", "negative", "identity", "patch")


def derived_seed(purpose: str, *numbers: int) -> int:
    """A separate seed for each combination of a purpose and numbers, such as the trial's seed and the epoch.

    A resumed training therefore draws the same as an uninterrupted one. Any word can be a purpose: its draws
    do not depend on which other purposes exist.
    """
    words = np.random.SeedSequence([_purpose_number(purpose), *numbers])
    return int(words.generate_state(1, np.uint64)[0])


def _purpose_number(purpose: str) -> int:
    if purpose in _NUMBERED:
        return _NUMBERED.index(purpose)
    return int.from_bytes(
        hashlib.sha256(purpose.encode()).digest()[:8], "big"
    )  # 64 bits, so that no two collide


def generator(purpose: str, *, seed: int, epoch: int) -> torch.Generator:
    """A separate CPU generator for each purpose, seed and epoch."""
    return torch.Generator().manual_seed(derived_seed(purpose, seed, epoch))


def seed_all(seed: int) -> None:
    """Seed the global generators, from which layers draw initial weights and dropout."""
    random.seed(seed)
    # NumPy's legacy generator takes 32 bits.
    np.random.seed(seed % 2**32)  # third-party layers draw from it
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """The state of every global generator as tensors, numbers and text, for a checkpoint."""
    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state()
    name, keys, position, has_gauss, cached = legacy
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), torch.tensor(keys.tolist()), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Restore every global generator to a state from `rng_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
