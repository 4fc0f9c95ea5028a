"""From stored token ids to the batches a classifier of text sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from trainables.contract import Budget, Env
from trainables.engine.examples import ExampleChoice, Scored, TrainEpoch
from trainables.engine.text.data import FunctionData
from trainables.engine.text.splits import LabelledRows

_SCORED_AT_ONCE = 64  # attention over 1,024 tokens: 256 at once would need tens of GiB
_AROUND = 2  # special tokens: one before a text, one after it


@dataclass(frozen=True)
class TextBatch:
    """Texts as token ids.

    Attributes:
        ids: (batch, longest), int64, the special tokens and padding included; on the device.
        lengths: Ids of each text that are no padding, (batch,), int64.
        labels: (batch,), int64.
    """

    ids: Tensor
    lengths: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_token(self) -> Tensor:
        """What attention may look at: (batch, longest), bool."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]

    def split(self, size: int) -> list[TextBatch]:
        """The same examples in as few even pieces as hold at most `size` each."""
        num_pieces = -(-len(self) // size)
        parts = (part.tensor_split(num_pieces) for part in (self.ids, self.lengths, self.labels))
        return [TextBatch(*piece) for piece in zip(*parts, strict=True)]


class TextBatches:
    """The batches of one trial. A resolution is the number of tokens that are read of a text."""

    def __init__(self, data: FunctionData, env: Env) -> None:
        self._data = data
        self._choice = ExampleChoice(data.splits, env)
        self._device = torch.device(env.device)

    def epoch(self, budget: Budget, epoch: int) -> TrainEpoch[TextBatch]:
        """The training examples of an epoch; the same for every trial of one seed."""
        order, most = self._choice.trained(budget, epoch)
        return TrainEpoch(order, partial(self._batch, self._data.splits.train, most=most))

    def validation(self, budget: Budget) -> Iterator[TextBatch]:
        """The texts that are scored after an epoch at `budget`."""
        return self._scored(self._choice.scored(budget))

    def test(self) -> Iterator[TextBatch]:
        """All test texts, of the top rung's length."""
        return self._scored(self._choice.tested())

    def _scored(self, scored: Scored[LabelledRows]) -> Iterator[TextBatch]:
        """Texts of like length together: a third of the padding of any order."""
        lengths = torch.from_numpy(self._data.tokens.lengths)[scored.examples.rows[scored.chosen]]
        in_order = replace(scored, chosen=scored.chosen[lengths.argsort(stable=True)])
        for indices in in_order.parts(_SCORED_AT_ONCE):
            yield self._batch(scored.examples, indices, most=scored.resolution)

    def _batch(self, examples: LabelledRows, indices: Tensor, *, most: int) -> TextBatch:
        special, rows = self._data.special, examples.rows[indices]
        inner = max(1, most - _AROUND)
        ids, lengths = self._data.tokens.padded(rows, most=inner, padding=special.padding)
        ids = functional.pad(ids, (1, 0), value=special.start)
        ids = functional.pad(ids, (0, 1), value=special.padding)
        ids[torch.arange(len(ids)), lengths + 1] = special.end
        parts = (ids, lengths + _AROUND, examples.labels[indices])
        return TextBatch(*(part.to(self._device) for part in parts))
