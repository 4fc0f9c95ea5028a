"""From stored trees to the batches of pairs that the network sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from trainables.code_clones.data import PADDING, CloneData
from trainables.core.contract import Budget, TrainingContext
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.text.splits import LabelledRows

_SCORED_AT_ONCE = 64  # pairs, of four sequences each


@dataclass(frozen=True)
class CloneBatch:
    """Pairs of trees.

    Attributes:
        ids: Words of the first and second trees in both orders, (pairs, 2 trees, 2 orders, longest), int64.
        lengths: Nodes read per tree, (pairs, 2), int64.
        labels: 1.0 for clones, (pairs,).
        is_tuning: Whether the threshold is chosen on these pairs rather than only applied to them.
    """

    ids: Tensor
    lengths: Tensor
    labels: Tensor
    is_tuning: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, size: int) -> list[CloneBatch]:
        """The same pairs in the fewest even pieces of at most `size`."""
        num_pieces = -(-len(self) // size)
        parts = (part.tensor_split(num_pieces) for part in (self.ids, self.lengths, self.labels))
        return [replace(self, ids=i, lengths=n, labels=y) for i, n, y in zip(*parts, strict=True)]


class CloneBatches:
    """The batches of one trial. The resolution is the number of nodes read per tree."""

    def __init__(self, data: CloneData, context: TrainingContext) -> None:
        self._data = data
        self._validation_subset = context.validation_subset
        self._choice = ExampleChoice(data.splits, context)
        self._device = torch.device(context.device)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[CloneBatch]:
        """The training pairs of an epoch; the same for every trial of one seed."""
        order, most = self._choice.trained(budget, epoch)
        return TrainEpoch(order, partial(self._batch, self._data.splits.train, most=most))

    def validation(self, budget: Budget) -> Iterator[CloneBatch]:
        """The pairs that the threshold is chosen on and that are scored with it."""
        return self._scored(self._choice.scored(budget), is_tuning=True)

    def test(self) -> Iterator[CloneBatch]:
        """Validation pairs again at the top resolution, for the threshold; then all test pairs."""
        tested, val = self._choice.tested(), self._data.splits.val
        yield from self._scored(
            replace(tested, examples=val, chosen=val.subset(self._validation_subset)), is_tuning=True
        )
        yield from self._scored(tested, is_tuning=False)

    def _scored(self, scored: Scored[LabelledRows], *, is_tuning: bool) -> Iterator[CloneBatch]:
        """Batches of pairs of similar size, which need less padding."""
        pairs = self._data.pairs[scored.examples.rows[scored.chosen]]
        sizes = torch.from_numpy(self._data.before.lengths)[pairs].amax(1)
        in_order = replace(scored, chosen=scored.chosen[sizes.argsort(stable=True)])
        for indices in in_order.parts(_SCORED_AT_ONCE):
            batch = self._batch(scored.examples, indices, most=scored.resolution)
            yield replace(batch, is_tuning=is_tuning)

    def _batch(self, examples: LabelledRows, indices: Tensor, *, most: int) -> CloneBatch:
        """These pairs, each tree as words in both orders, cut off after `most` nodes."""
        pairs = self._data.pairs[examples.rows[indices]]
        orders = (self._data.before, self._data.after)
        found = [order.padded(pairs.flatten(), most=most, padding=PADDING) for order in orders]
        ids = torch.stack([ids for ids, _ in found], dim=1).unflatten(0, (-1, 2))
        return CloneBatch(
            ids.to(self._device),
            found[0][1].view(-1, 2).to(self._device),
            examples.labels[indices].float().to(self._device),
        )
