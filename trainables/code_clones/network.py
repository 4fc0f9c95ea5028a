"""The network that measures how alike two trees are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.code_clones.batches import CloneBatch
from trainables.code_clones.data import PADDING

_NUM_ORDERS = 2
_NOT_CERTAIN = 1e-4  # else equal trees labelled as no clones would cost 100, as much as all other pairs


class TreeEncoder(nn.Module):
    """A pre-norm transformer (Xiong et al. 2020) for each order of a tree's nodes, side by side.

    The outputs of each are averaged over the nodes, and one linear layer turns both means into features.

    Args:
        num_tokens: Number of word ids.
        most: Maximum number of nodes per tree.
        width: Size of each node's vector; `hidden` is the number of units between the layers of a block.
        features: Size of a tree's feature vector.
    """

    def __init__(
        self,
        num_tokens: int,
        most: int,
        *,
        width: int,
        hidden: int,
        heads: int,
        layers: int,
        features: int,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(num_tokens, width, padding_idx=PADDING)
        self.places = nn.Embedding(most, width)
        self.dropout = nn.Dropout(drop_rate)
        self.orders = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    width, heads, hidden, drop_rate, activation="gelu", batch_first=True, norm_first=True
                ),
                layers,
                norm=nn.LayerNorm(width),
                enable_nested_tensor=False,
            )
            for _ in range(_NUM_ORDERS)
        )
        self.head = nn.Linear(_NUM_ORDERS * width, features)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Features (trees, features) of words in both orders (trees, 2, longest)."""
        places = torch.arange(ids.shape[2], device=ids.device)
        # Padding is neither attended to nor averaged, so it changes nothing.
        is_node = places < lengths[:, None]  # (trees, longest)
        nodes = self.dropout(self.words(ids) + self.places(places))  # (trees, 2, longest, width)
        read = [
            _mean(order(nodes[:, number], src_key_padding_mask=~is_node), is_node)
            for number, order in enumerate(self.orders)
        ]
        features: Tensor = self.head(torch.cat(read, dim=1))
        return features


def _mean(nodes: Tensor, is_node: Tensor) -> Tensor:
    """(trees, width): the mean over the real nodes."""
    total = (nodes * is_node[..., None]).sum(1)
    return total / is_node.sum(1, keepdim=True)


def likenesses(model: nn.Module, batch: CloneBatch) -> Tensor:
    """How alike the trees of each pair are, in (0, 1): half of 1 + the cosine of their features; (pairs,)."""
    # Both trees of all pairs in one pass; the cosine is taken in fp32, as autocast would cost it digits.
    features = model(batch.ids.flatten(0, 1), batch.lengths.flatten()).float()
    first, second = features.unflatten(0, (-1, 2)).unbind(1)
    cosine = functional.cosine_similarity(first, second)
    return ((1 + cosine) / 2).clamp(_NOT_CERTAIN, 1 - _NOT_CERTAIN)


def clone_loss(likeness: Tensor, batch: CloneBatch) -> Tensor:
    """Cross entropy of likenesses (pairs,)."""
    return functional.binary_cross_entropy(likeness, batch.labels)
