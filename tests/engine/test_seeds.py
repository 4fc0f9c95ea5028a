"""Seeds by purpose: what is drawn for one says nothing of what is drawn for another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.engine.seeds import derived_seed, generator

NUMBERED = ["order", "augment", "mix", "pair", "negative", "identity", "patch"]


@pytest.mark.parametrize("purpose", NUMBERED)
def test_the_first_seven_purposes_draw_what_they_drew_when_they_were_numbers(purpose: str) -> None:
    words = np.random.SeedSequence([NUMBERED.index(purpose), 3, 4])
    assert derived_seed(purpose, 3, 4) == int(words.generate_state(1, np.uint64)[0])


def test_a_new_purpose_needs_no_list_and_is_the_same_in_every_process() -> None:
    assert derived_seed("noise", 3, 4) == 13848691970107229095
    drawn = [torch.rand(4, generator=generator("noise", seed=3, epoch=4)).tolist() for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_no_two_purposes_seeds_or_epochs_draw_the_same() -> None:
    purposes = [*NUMBERED, "noise", "Noise", "noise ", "crop", "0", "order2"]
    seeds = {
        derived_seed(purpose, seed, epoch) for purpose in purposes for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(seeds) == 4 * len(purposes)
