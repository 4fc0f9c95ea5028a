"""Networks for small images that neither timm nor torchvision has: CIFAR's ResNet-20 and MNIST's CNN."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_POOLED_PX = 12  # what the example's pooling leaves of 28 px


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels; 269,722 parameters for CIFAR-10.

    He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv3x3(in_channels, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(
            *(_Block(16, 16, stride=1) for _ in range(3)),
            *(_Block(16 if index == 0 else 32, 32, stride=2 if index == 0 else 1) for index in range(3)),
            *(_Block(32 if index == 0 else 64, 64, stride=2 if index == 0 else 1) for index in range(3)),
        )
        self.dropout = nn.Dropout(drop_rate)
        self.head = nn.Linear(64, num_classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))  # (batch, 64, side / 4, side / 4)
        logits: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return logits


class MnistCNN(nn.Module):
    """PyTorch's example `mnist`, for images of 5 px or more: two convolutions and two linear layers.

    1,199,882 parameters for ten digits, most in the first linear layer. Whatever the resolution, pooling
    leaves 12 px: at 28 px it is the example's own, of 2 x 2.

    Args:
        drop_rate: Dropout before the last layer, and half of it after pooling; the example has 0.5.
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


class _Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A of the paper)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.missing_channels = out_channels - in_channels

    def forward(self, images: Tensor) -> Tensor:
        out = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(images)))))
        return functional.relu(out + self._shortcut(images))

    def _shortcut(self, images: Tensor) -> Tensor:
        if not self.missing_channels:
            return images
        before = self.missing_channels // 2
        thinned = images[:, :, :: self.stride, :: self.stride]
        return functional.pad(thinned, (0, 0, 0, 0, before, self.missing_channels - before))


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
