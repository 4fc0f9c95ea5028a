"""The two-convolution network of PyTorch's example `mnist`, for images of any resolution from 5 px."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_POOLED_PX = 12  # what the example's pooling leaves of 28 px


class MnistCNN(nn.Module):
    """Two convolutions and two linear layers; 1,199,882 parameters for ten digits, most in the first linear.

    Whatever the resolution, pooling leaves 12 px: at 28 px it is the example's, of 2 x 2.

    Args:
        drop_rate: Before the last layer, and half of it after pooling: 0.5 is the example's.
    """

    def __init__(self, num_classes: int, in_channels: int = 1, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 32, kernel_size=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, kernel_size=3),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d(_POOLED_PX),
            nn.Dropout(drop_rate / 2),
        )
        self.between = nn.Linear(64 * _POOLED_PX**2, 128)
        self.dropout = nn.Dropout(drop_rate)
        self.head = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.relu(self.between(self.stem(images).flatten(1)))
        logits: Tensor = self.head(self.dropout(features))
        return logits
