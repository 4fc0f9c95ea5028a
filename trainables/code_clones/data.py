"""From a source's name in a space to pairs of trees as token ids, in three parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.code_clones.data_sources import PAIR_SOURCES
from trainables.code_clones.pairs import Pairs, pairs_key, read_pairs
from trainables.core.contract import TrainingContext
from trainables.core.data_source import DataSource, read_source
from trainables.engine.text.splits import LabelledSplits, labelled_splits
from trainables.engine.text.stored import Arrays, digest, stored_arrays
from trainables.engine.text.tokens import Tokens

PADDING, UNKNOWN = 0, 1
_NUM_SPECIAL = 2
_VERSION = "1"  # of the cached arrays
_MAX_NODES = 256  # read per tree if no resolution is given, as the authors do


@dataclass(frozen=True, eq=False)
class CloneData:
    """Trees in both orders as word ids, and the pairs of them.

    Attributes:
        before: The words of each tree in pre-order.
        after: The same words in post-order.
        pairs: Indices of each pair's two trees, (n, 2).
        num_tokens: Number of ids.
        num_shared: Number of trees of validation and test pairs that are also in training pairs.
    """

    before: Tokens
    after: Tokens
    pairs: Tensor
    splits: LabelledSplits
    num_tokens: int
    num_shared: int

    def notes(self) -> dict[str, str]:
        """How many trees are cut, and how many sources the parts share."""
        total, most = len(self.before), self.splits.score_resolution
        num_cut = int((self.before.lengths > most).sum())
        notes = {"trees": f"{num_cut} of {total} trees have more than {most} nodes and are cut there"}
        if self.num_shared:
            notes["shared"] = shared_words(self.num_shared)
        return notes


def shared_words(num_shared: int) -> str:
    """A warning that the parts share this many sources."""
    found = f"{num_shared} sources of validation and test are in training pairs too"
    return f"{found}; a column part can keep them apart"


def load_clones(context: TrainingContext, *, vocabulary: int) -> CloneData:
    """The pairs of a run, split the same way in every trial, and cached for the next one.

    Args:
        vocabulary: Number of words with an id of their own: the most frequent in training pairs.

    Raises:
        DataError: Unknown, missing or unusable data.
    """
    given = read_source(context.data, PAIR_SOURCES)
    key = digest(_VERSION, pairs_key(given), str(vocabulary), str(context.data_seed))
    found = _stored(context.cache_dir, key, given, context.data_seed, vocabulary)
    before, after = (Tokens(found[name], found["starts"]) for name in ("before", "after"))
    num_tokens, num_shared = found["numbers"].tolist()
    return CloneData(
        before=before,
        after=after,
        pairs=torch.from_numpy(found["pairs"]),
        splits=labelled_splits(
            torch.from_numpy(found["labels"]),
            found["parts"],
            source=str(given),
            seed=context.data_seed,
            score_resolution=context.resolution or min(int(before.lengths.max()), _MAX_NODES),
        ),
        num_tokens=num_tokens,
        num_shared=num_shared,
    )


@lru_cache(maxsize=2)
def _stored(folder: Path, key: str, given: DataSource, seed: int, vocabulary: int) -> Arrays:
    def make() -> Arrays:
        pairs = read_pairs(given)
        return _arrays(pairs, pairs.split(seed), vocabulary)

    return stored_arrays(folder, f"clones-{key}", make)


def _arrays(pairs: Pairs, parts: np.ndarray, vocabulary: int) -> Arrays:
    numbers = np.stack([pairs.first, pairs.second], 1)  # (n, 2)
    before = [tree.before() for tree in pairs.trees]
    ids = word_ids((before[number] for number in np.unique(numbers[parts == "train"])), vocabulary)
    first = Tokens.joined([[ids.get(word, UNKNOWN) for word in words] for words in before])
    second = Tokens.joined([[ids.get(word, UNKNOWN) for word in tree.after()] for tree in pairs.trees])
    return {
        "before": first.ids,
        "after": second.ids,
        "starts": first.starts,
        "pairs": numbers,
        "labels": np.array(pairs.labels),
        "parts": parts,
        "numbers": np.array([len(ids) + _NUM_SPECIAL, pairs.num_shared(parts)]),
    }


def word_ids(trees: Iterable[list[str]], vocabulary: int) -> dict[str, int]:
    """An id for each of the `vocabulary` most frequent words that occur at least twice."""
    counts = Counter(word for words in trees for word in words)
    frequent = sorted((word for word in counts if counts[word] > 1), key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(frequent[:vocabulary], start=_NUM_SPECIAL)}


def check_clones(context: TrainingContext) -> list[str]:
    """Notes on the source that `context.data` names, which is read in full.

    Raises:
        DataError: No such source, or its rows, files or parts cannot be used.
    """
    given = read_source(context.data, PAIR_SOURCES)
    pairs = read_pairs(given)
    parts, labels = pairs.split(context.data_seed), torch.tensor(pairs.labels)
    labelled_splits(labels, parts, source=str(given), seed=context.data_seed, score_resolution=1)
    found = [f"{len(labels)} pairs of {len(pairs.trees)} sources, {int(labels.sum())} of clones"]
    num_shared = pairs.num_shared(parts)
    return [*found, shared_words(num_shared)] if num_shared else found
