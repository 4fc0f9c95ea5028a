"""Which examples a split or a budget gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.core.contract import DataError
from trainables.engine.subset import at_most, balanced_order, nested_subset, split_rows

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_a_smaller_subset_is_contained_in_a_larger_one(labels, shares, seed):
    small, large = (set(nested_subset(torch.tensor(labels), s, seed=seed).tolist()) for s in sorted(shares))
    assert small <= large


@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=50), share=st.floats(0.001, 1))
@settings(max_examples=50, deadline=None)
def test_a_share_keeps_at_least_one_example_of_each_class(labels, share):
    kept = nested_subset(torch.tensor(labels), share, seed=0)
    assert {labels[index] for index in kept.tolist()} == set(labels)
    assert len(set(kept.tolist())) == len(kept)


def test_half_is_half_and_keeps_the_proportions_of_the_classes():
    half = nested_subset(LABELS, 0.5, seed=0)
    assert LABELS[half].bincount().tolist() == [30, 15, 5]


def test_a_count_is_that_many_examples():
    assert len(nested_subset(LABELS, 17, seed=0)) == 17


def test_no_subset_is_every_example_once():
    assert sorted(nested_subset(LABELS, None, seed=0).tolist()) == list(range(100))


def test_another_seed_chooses_other_examples():
    first, second = (set(nested_subset(LABELS, 0.5, seed=seed).tolist()) for seed in (0, 1))
    assert first != second


def test_every_prefix_has_the_classes_in_proportion_within_one_example():
    order = balanced_order(LABELS, seed=3)
    for length in range(1, 101):
        counts = LABELS[order[:length]].bincount(minlength=3)
        assert (counts - length * torch.tensor([0.6, 0.3, 0.1])).abs().max() <= 2


@pytest.mark.parametrize("count", [2, 101])
def test_a_count_that_cannot_be_kept_is_refused_with_what_can(count):
    with pytest.raises(DataError, match=rf"{count} examples.*ask for 3 to 100"):
        nested_subset(LABELS, count, seed=0)


def test_a_validation_set_smaller_than_asked_for_is_scored_whole():
    assert [at_most(wanted, 27) for wanted in (64, 20, 0.5, 1.0, None)] == [27, 20, 0.5, 1.0, None]


def test_as_many_examples_are_held_out_for_validation_as_are_asked_for():
    parts = np.array(["train"] * 90 + ["test"] * 10)
    train, val, test = split_rows(LABELS, parts, seed=0, num_val=9)
    assert [len(train), len(val), len(test)] == [81, 9, 10]
    assert LABELS[val].bincount(minlength=3).tolist() == [6, 3, 0]
    assert not {*train.tolist()} & {*val.tolist()}


@pytest.mark.parametrize("num_val", [100, 1000])
def test_a_validation_part_that_leaves_nothing_to_train_on_is_refused(num_val):
    with pytest.raises(DataError, match="too few for training, validation and test"):
        split_rows(LABELS, np.array(["train"] * 100), seed=0, num_val=num_val)
