"""How a library builds a model for images of a given side: found by building it where nothing is computed.

Libraries do not say which sides a model takes, nor under which name it is told them. A twin on torch's meta
device has shapes but no memory and no arithmetic: it is built in some 50 ms, and refuses what the model does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Options = Mapping[str, Any]
Make = Callable[..., nn.Module]  # from keyword arguments to a model

# What sides are multiples of: strides and patches, and windows times strides.
_STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 56, 64, 96, 112, 128, 192, 224, 256)
_ABOVE = (16, 28, 32, 42, 48, 56, 64, 70, 80, 84, 96, 112, 128, 140, 160, 192, 224, 256, 320, 384, 448, 512)
_NEEDS_VALUES = "meta"  # torch's word where a model computes with values already to be built: few do
_UNKNOWN_OPTION = "unexpected keyword argument"


@dataclass(frozen=True)
class Sides:
    """The sides in pixels of the images that a model takes.

    Attributes:
        takes: Whether it takes a side other than its own.
        own: The side that it was built for; None is none in particular.
    """

    takes: Callable[[int], bool] = lambda side: True
    own: int | None = None
    _given: dict[int, int] = field(default_factory=dict)

    def nearest(self, wanted: int) -> int:
        """The largest side up to `wanted` that the model takes; where there is none, the smallest above."""
        if wanted not in self._given:
            self._given[wanted] = next(
                (side for side in sides_near(wanted, self.own) if side == self.own or self.takes(side)),
                self.own or wanted,
            )
        return self._given[wanted]


def sides_near(wanted: int, own: int | None) -> Iterator[int]:
    """Sides to try instead of `wanted`, the best first: itself, smaller ones, then larger ones.

    None is as small as half of it: a grid of 1 x 1 patches, which broadcasts to any, would pass for fitting.
    """
    sides = {wanted // step * step for step in _STEPS} | {*_ABOVE, own or 0}
    yield from sorted((side for side in sides if wanted / 2 < side <= wanted), reverse=True)
    yield from sorted(side for side in sides if side > wanted)


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a model is built so that it takes images of a side.

    Attributes:
        options: What the library is given.
        head: Names of the modules whose shapes depend on the number of classes.
        has_dropout: Whether the rate that it was given is that of any layer.
    """

    options: Options
    sides: Sides
    head: tuple[str, ...]
    has_dropout: bool


class Builder:
    """Tries how a library builds one model.

    Args:
        make: Builds it.
        size_options: For a side, the ways of telling it to the model, the best first; one that has nothing
            but the side leaves a model that takes no other, unless it shows that it does.
        num_classes: 0 is a backbone, whose answer does not matter.
        own: The side that the library builds it for where it is told nothing; None is unknown.
        drop_rate: The rate that `make` gives it.
        width_share: Width over height of the images.
        is_right: Whether it is a right answer to two images; None asks for a score for each class.
    """

    def __init__(
        self,
        make: Make,
        *,
        size_options: Callable[[int], Sequence[Options]],
        num_classes: int,
        in_channels: int,
        own: int | None,
        drop_rate: float = 0.0,
        width_share: float = 1.0,
        is_right: Callable[[Any], bool] | None = None,
    ) -> None:
        self._make, self._size_options, self._own = make, size_options, own
        self._num_classes, self._in_channels = num_classes, in_channels
        self._drop_rate, self._width_share = drop_rate, width_share
        self._is_right = is_right or self._is_of_classes
        self._unknown: set[tuple[str, ...]] = set()
        self._twins: dict[str, nn.Module | Exception] = {}

    def build(self, side: int) -> Build:
        """How the model is built for images of `side`, or of the nearest that it takes.

        Raises:
            ValueError: It takes no images of any side; the message says why.
        """
        found = self._found(list(sides_near(side, self._own)), "meta")
        if not isinstance(found, Build) and any(_NEEDS_VALUES in reason for reason in found):
            found = self._found([side, self._own or side], "cpu")
        if isinstance(found, Build):
            return found
        raise ValueError(found[0])

    def _found(self, sides: Sequence[int], device: str) -> Build | list[str]:
        """How it is built for the first side that it takes; else why it takes none of them."""
        reasons = []
        for near, options in self._ways(sides):
            twin = self._twin(options, device)
            why = str(twin) if isinstance(twin, Exception) else self._why_refused(twin, near, device)
            if isinstance(twin, nn.Module) and not why:
                return self._described(twin, options, near, device)
            if tuple(options) not in self._unknown:
                reasons.append(why)
        return reasons

    def _ways(self, sides: Sequence[int]) -> Iterator[tuple[int, Options]]:
        """Ways that leave a model free come before others whatever the side: it takes the ladder's others."""
        ways = [(near, options) for near in sides for options in self._size_options(near)]
        kinds = {tuple(options): None for _, options in ways if len(options) > 1}
        for kind in kinds:
            yield from (way for way in ways if tuple(way[1]) == kind)
        yield from (way for way in ways if tuple(way[1]) not in kinds)

    def _described(self, twin: nn.Module, options: Options, near: int, device: str) -> Build:
        with quietly_on(device):
            other = self._make(**{**options, "num_classes": self._num_classes + 1})
        head = class_modules(twin, other)
        if self._num_classes and (not head or "" in head):
            raise ValueError("it has no layer of its own for the classes")

        self._twins.clear()

        def takes(side: int) -> bool:
            return not self._why_refused(twin, side, device)

        is_fixed = len(options) == 1 and not takes(2 * near)
        return Build(
            options=options,
            sides=Sides((lambda side: False) if is_fixed else takes, near),
            head=head,
            has_dropout=drops_at(twin, self._drop_rate),
        )

    def _is_of_classes(self, answer: Any) -> bool:
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else ()
        return not self._num_classes or shape == (2, self._num_classes)

    def _twin(self, options: Options, device: str) -> nn.Module | Exception:
        names, key = tuple(options), f"{device} {sorted(options.items())}"
        if names in self._unknown:
            return TypeError(_UNKNOWN_OPTION)
        if key not in self._twins:
            try:
                with quietly_on(device):
                    self._twins[key] = self._make(**options)
            except Exception as error:  # whatever the library raises
                self._twins[key] = error
                if names and _UNKNOWN_OPTION in str(error):
                    self._unknown.add(names)
        return self._twins[key]

    def _why_refused(self, twin: nn.Module, side: int, device: str) -> str:
        """Why a twin does not answer two images of this side as it should; empty where it does."""
        width = max(1, round(side * self._width_share))
        if patch := _cut_off(twin, side):
            return f"images of {side} px are no multiple of its patches of {patch} px"
        try:
            with quietly_on(device), torch.no_grad():
                answer = twin.train()(torch.zeros(2, self._in_channels, side, width))
        except Exception as error:  # whatever the library raises
            return " ".join(str(error).split()) or type(error).__name__
        if not self._is_right(answer):
            raise ValueError(f"it answers two images with {_words_for(answer)}")
        return ""


@contextmanager
def quietly_on(device: str) -> Iterator[None]:
    """Build on this device without warnings; random numbers that are drawn on the way are put back."""
    with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def class_modules(twin: nn.Module, other: nn.Module) -> tuple[str, ...]:
    """Names of the modules whose parameters differ in shape between twins of two numbers of classes."""
    shapes = {name: parameter.shape for name, parameter in other.named_parameters()}
    names = [
        name.rpartition(".")[0]
        for name, parameter in twin.named_parameters()
        if shapes.get(name) != parameter.shape
    ]
    return tuple(dict.fromkeys(names))


def joined(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """The named modules of `model` as one."""
    modules = [model.get_submodule(name) for name in names]
    return modules[0] if len(modules) == 1 else nn.ModuleList(modules)


def drops_at(model: nn.Module, rate: float) -> bool:
    """Whether any layer of `model` has this rate of dropout, as a module or for itself."""
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    return any(
        module.p == rate if isinstance(module, dropouts) else getattr(module, "drop_rate", None) == rate
        for module in model.modules()
    )


def _cut_off(model: nn.Module, side: int) -> int:
    """The side of the patches that images are cut into, where some pixels would be left over; else 0."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    size = patch[0] if isinstance(patch, tuple | list) else patch
    return size if isinstance(size, int) and side % size else 0


def _words_for(answer: Any) -> str:
    return f"a tensor {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
