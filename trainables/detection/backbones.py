"""Loading the weights of a backbone alone from a classifier's file, as detectors in papers start.

DETR, RT-DETR and D-FINE were published with backbones trained on ImageNet. Libraries name the same layers
differently, so a file is tried under each naming: the detector's, transformers', timm's and torchvision's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.engine.state_files import State

_COUNTER = "num_batches_tracked"
_MIN_FRACTION = 0.5  # of the backbone's tensors; a file of another model has none of them
_OF_DETECTORS = (
    "class_embed",
    "bbox_embed",
    "class_labels_classifier",
    "bbox_predictor",
    "rpn.",
    "roi_heads.",
)
_LISTED = 4


@dataclass(frozen=True)
class LoadedBackbone:
    """The result of loading a backbone.

    Attributes:
        num_taken: Number of tensors taken from the file.
        random: Names of tensors that the file does not have.
        identities: Shortcuts that are the identity in the file's model, and now also in the backbone.
    """

    num_taken: int
    random: Sequence[str]
    identities: Sequence[str] = ()

    def note(self, path: Path) -> str:
        """Describe the result, and which layers of the whole detector are random."""
        listed = ", ".join(self.random[:_LISTED])
        more = f" and {len(self.random) - _LISTED} more" if len(self.random) > _LISTED else ""
        missing = f", of the backbone {listed}{more}" if self.random else ""
        same = f"; as in that model {', '.join(self.identities)} is the identity" if self.identities else ""
        return (
            f"{self.num_taken} tensors of the backbone are from {path.name}{same}; new, with random values, "
            f"are all layers after the backbone{missing}"
        )


def is_of_backbone(state: State) -> bool:
    """Whether a state dict has none of a detector's layers after the backbone."""
    return not any(word in name for name in state for word in _OF_DETECTORS)


def load_backbone_weights(backbone: nn.Module, given: State) -> LoadedBackbone:
    """Load the tensors of a state dict that match `backbone` by name and shape.

    Raises:
        ValueError: They are fewer than half of the backbone's.
    """
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not name.endswith(_COUNTER)}
    taken = max((_matching(own, each) for each in _renamed(own, given)), key=len)
    if len(taken) < _MIN_FRACTION * len(own):
        raise ValueError(f"it holds {len(taken)} of the {len(own)} tensors of the detector's backbone")
    with torch.no_grad():
        for name, tensor in taken.items():
            own[name].copy_(tensor)
    missing = [name for name in own if name not in taken]
    identities = list(_made_identities(backbone, missing))
    random = [name for name in missing if not name.startswith(tuple(identities))]
    return LoadedBackbone(len(taken), random, identities)


def _made_identities(backbone: nn.Module, missing: Sequence[str]) -> Iterator[str]:
    """Set each shortcut that the file lacks and that keeps the shape to the identity, and yield their names.

    RT-DETR's ResNet-18 has a projection in its first block, where timm's ResNet-D adds its input unchanged: a
    random projection in a frozen stage would turn everything that the file has learnt into noise.
    """
    for name, module in backbone.named_modules():
        convolution = getattr(module, "convolution", None)
        if not name.endswith("shortcut") or not isinstance(convolution, nn.Conv2d):
            continue
        is_missing = all(
            f"{name}.{key}" in missing for key in module.state_dict() if not key.endswith(_COUNTER)
        )
        keeps_shape = convolution.in_channels == convolution.out_channels and convolution.stride == (1, 1)
        if is_missing and keeps_shape and convolution.kernel_size == (1, 1):
            nn.init.dirac_(convolution.weight)  # the new norm after it changes nothing: mean 0, variance 1
            yield name


def _matching(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: state[name]
        for name, tensor in own.items()
        if name in state and state[name].shape == tensor.shape
    }


def _renamed(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The file's tensors under each possible naming, without a common prefix."""
    for rename in (str, _of_resnet_d, _of_resnet, _of_hgnet):
        state = {rename(name): tensor for name, tensor in given.items()}
        # A shortcut after pooling has another name than one without.
        state |= {name.replace("shortcut.1.", "shortcut."): tensor for name, tensor in state.items()}
        for prefix in {_prefix(name, own) for name in state}:
            if prefix is not None:
                yield {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    yield {}


def _prefix(name: str, own: Mapping[str, Tensor]) -> str | None:
    """The prefix of `name`, if the rest of it is the first of the backbone's own names."""
    first = next(iter(own))
    return name.removesuffix(first) if name.endswith(first) else None


def _of_resnet(name: str) -> str:
    """Convert a name from torchvision's or timm's ResNet, whose stem is one convolution, to transformers'."""
    name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
    return _of_stages(name, {"0": "convolution", "1": "normalization"}, "shortcut")


def _of_resnet_d(name: str) -> str:
    """Convert a name from timm's ResNet-D (a stem of three convolutions, pooled shortcuts) to RT-DETR's."""
    stem: Mapping[str, str] = {
        "conv1.0.": "0.convolution.",
        "conv1.1.": "0.normalization.",
        "conv1.3.": "1.convolution.",
        "conv1.4.": "1.normalization.",
        "conv1.6.": "2.convolution.",
        "bn1.": "2.normalization.",
    }
    for old, new in stem.items():
        if name.startswith(old):
            return f"embedder.embedder.{new}{name.removeprefix(old)}"
    return _of_stages(name, {"1": "convolution", "2": "normalization"}, "shortcut.1")


def _of_stages(name: str, parts: Mapping[str, str], shortcut: str) -> str:
    """Convert the name of a layer in the four stages."""
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.(\d))\.(.+)", name)
    if not found:
        return name
    stage, block, kind, number, place, rest = found.groups()
    head = f"encoder.stages.{int(stage) - 1}.layers.{block}"
    if place is not None:
        return f"{head}.{shortcut}.{parts.get(place, place)}.{rest}"
    part = "convolution" if kind == "conv" else "normalization"
    return f"{head}.layer.{int(number) - 1}.{part}.{rest}"


def _of_hgnet(name: str) -> str:
    """Convert a name from timm's HGNetV2 to D-FINE's."""
    changes: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]] = (
        (r"^stem\.", "embedder."),
        (r"^stages\.", "encoder.stages."),
        (r"\.conv\.", ".convolution."),
        (r"\.bn\.", ".normalization."),
    )
    for old, new in changes:
        name = re.sub(old, new, name)
    return name
