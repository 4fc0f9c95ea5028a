"""Checkpoints and generator states."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from trainables.core.checkpoint import load_checkpoint, save_checkpoint
from trainables.core.files import replacing
from trainables.engine.seeds import generator, restore_rng, rng_state, seed_all


def drawn() -> tuple[float, float, float, float]:
    return random.random(), random.gauss(0, 1), float(np.random.normal()), torch.rand(1).item()


def test_every_generator_resumes_where_the_checkpoint_left_it(tmp_path):
    seed_all(3)
    drawn()
    save_checkpoint(tmp_path / "state.pt", {"rng": rng_state()})
    expected = drawn(), drawn()
    restore_rng(load_checkpoint(tmp_path / "state.pt")["rng"])
    assert (drawn(), drawn()) == expected


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"epochs_done": 1})

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert load_checkpoint(path) == {"epochs_done": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_a_generator_belongs_to_purpose_seed_and_epoch():
    def first(purpose, seed, epoch):
        return torch.rand(1, generator=generator(purpose, seed=seed, epoch=epoch)).item()

    assert first("order", 1, 2) == first("order", 1, 2)
    drawn_by_each = {
        first(*key) for key in [("order", 1, 2), ("augment", 1, 2), ("order", 2, 1), ("order", 1, 3)]
    }
    assert len(drawn_by_each) == 4
