"""How a library builds a model for images of a given resolution, found by building it without computing.

Libraries say neither which resolutions a model takes nor how the option for one is called. A twin on torch's
meta device has shapes but no memory and no arithmetic: it is built in some 50 ms, and refuses whatever the
model refuses.
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

# Resolutions are multiples of these: strides and patches, and windows times strides.
_STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 56, 64, 96, 112, 128, 192, 224, 256)
_ABOVE = (16, 28, 32, 42, 48, 56, 64, 70, 80, 84, 96, 112, 128, 140, 160, 192, 224, 256, 320, 384, 448, 512)
_NEEDS_VALUES = "meta"  # in torch's message for a model that computes with values while it is built: few do
_UNKNOWN_OPTION = "unexpected keyword argument"


@dataclass(frozen=True)
class Resolutions:
    """The resolutions in pixels of the images that a model takes.

    Attributes:
        takes: Whether it takes a resolution other than its own.
        own: The resolution that it was built for; None means none in particular.
    """

    takes: Callable[[int], bool] = lambda resolution: True
    own: int | None = None
    _given: dict[int, int] = field(default_factory=dict)

    def nearest(self, wanted: int) -> int:
        """The largest resolution up to `wanted` that it takes; if there is none, the smallest above."""
        if wanted not in self._given:
            self._given[wanted] = next(
                (
                    resolution
                    for resolution in resolutions_near(wanted, self.own)
                    if resolution == self.own or self.takes(resolution)
                ),
                self.own or wanted,
            )
        return self._given[wanted]


def resolutions_near(wanted: int, own: int | None) -> Iterator[int]:
    """Resolutions to try instead of `wanted`, the best first: itself, smaller ones, then larger ones.

    All are above half of it: a grid of 1 x 1 patches, which broadcasts to any, would seem to fit.
    """
    resolutions = {wanted // step * step for step in _STEPS} | {*_ABOVE, own or 0}
    yield from sorted(
        (resolution for resolution in resolutions if wanted / 2 < resolution <= wanted), reverse=True
    )
    yield from sorted(resolution for resolution in resolutions if resolution > wanted)


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a model is built so that it takes images of a resolution.

    Attributes:
        options: The keyword arguments for the library.
        head: Names of the modules whose shapes depend on the number of classes.
        has_dropout: Whether any layer has the requested dropout rate.
    """

    options: Options
    resolutions: Resolutions
    head: tuple[str, ...]
    has_dropout: bool


class Builder:
    """Tries out how a library builds one model.

    Args:
        make: Builds the model.
        size_options: Returns the keyword arguments to try for a resolution, the best first. With the
            resolution as the only argument a model takes no other, unless it shows that it does.
        num_classes: 0 means a backbone, whose output does not matter.
        own: The resolution that the library builds it for by default; None if unknown.
        drop_rate: The dropout rate that `make` sets.
        aspect_ratio: Width over height of the images.
        is_right: Whether an output for two images is right; None requires a score for each class.
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
        aspect_ratio: float = 1.0,
        is_right: Callable[[Any], bool] | None = None,
    ) -> None:
        self._make, self._size_options, self._own = make, size_options, own
        self._num_classes, self._in_channels = num_classes, in_channels
        self._drop_rate, self._aspect_ratio = drop_rate, aspect_ratio
        self._is_right = is_right or self._is_of_classes
        self._unknown: set[tuple[str, ...]] = set()
        self._twins: dict[str, nn.Module | Exception] = {}

    def build(self, resolution: int) -> Build:
        """How the model is built for images of `resolution`, or of the nearest that it takes.

        Raises:
            ValueError: The model takes no images of any resolution; the message says why.
        """
        found = self._found(list(resolutions_near(resolution, self._own)), "meta")
        if not isinstance(found, Build) and any(_NEEDS_VALUES in reason for reason in found):
            found = self._found([resolution, self._own or resolution], "cpu")
        if isinstance(found, Build):
            return found
        raise ValueError(found[0])

    def _found(self, resolutions: Sequence[int], device: str) -> Build | list[str]:
        """How it is built for the first resolution that it takes, else the reasons why it takes none."""
        reasons = []
        for near, options in self._ways(resolutions):
            twin = self._twin(options, device)
            why = str(twin) if isinstance(twin, Exception) else self._refusal_reason(twin, near, device)
            if isinstance(twin, nn.Module) and not why:
                return self._described(twin, options, near, device)
            if tuple(options) not in self._unknown:
                reasons.append(why)
        return reasons

    def _ways(self, resolutions: Sequence[int]) -> Iterator[tuple[int, Options]]:
        """Resolutions and options to try, first those that leave a model free to take a ladder's others."""
        ways = [(near, options) for near in resolutions for options in self._size_options(near)]
        kinds = {tuple(options): None for _, options in ways if len(options) > 1}
        for kind in kinds:
            yield from (way for way in ways if tuple(way[1]) == kind)
        yield from (way for way in ways if tuple(way[1]) not in kinds)

    def _described(self, twin: nn.Module, options: Options, near: int, device: str) -> Build:
        with quietly_on(device):
            other = self._make(**{**options, "num_classes": self._num_classes + 1})
        head = class_modules(twin, other)
        if self._num_classes and (not head or "" in head):
            raise ValueError("it has no separate layer for the classes")

        self._twins.clear()

        def takes(resolution: int) -> bool:
            return not self._refusal_reason(twin, resolution, device)

        is_fixed = len(options) == 1 and not takes(2 * near)
        return Build(
            options=options,
            resolutions=Resolutions((lambda resolution: False) if is_fixed else takes, near),
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

    def _refusal_reason(self, twin: nn.Module, resolution: int, device: str) -> str:
        """Why a twin does not take two images of this resolution; empty if it does.

        Raises:
            ValueError: It takes them, and its output is wrong.
        """
        width = max(1, round(resolution * self._aspect_ratio))
        if patch := _cut_off(twin, resolution):
            return f"images of {resolution} px are not a multiple of its patches of {patch} px"
        try:
            with quietly_on(device), torch.no_grad():
                answer = twin.train()(torch.zeros(2, self._in_channels, resolution, width))
        except Exception as error:  # whatever the library raises
            return " ".join(str(error).split()) or type(error).__name__
        if not self._is_right(answer):
            raise ValueError(f"for two images it returns {_words_for(answer)}")
        return ""


@contextmanager
def quietly_on(device: str) -> Iterator[None]:
    """Context for building on a device without warnings; the random state is restored afterwards."""
    with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def twin_of(make: Callable[[], nn.Module]) -> nn.Module:
    """The model that `make` makes, without values if it can be made without: for its names and shapes."""
    try:
        with quietly_on("meta"):
            return make()
    except Exception:  # whatever the library raises if it computes with values
        with quietly_on("cpu"):
            return make()


def class_modules(twin: nn.Module, other: nn.Module) -> tuple[str, ...]:
    """Names of modules whose parameters differ in shape between twins with different numbers of classes."""
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
    """Whether any layer of `model` has this dropout rate, as a dropout module or in its `drop_rate`."""
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    return any(
        module.p == rate if isinstance(module, dropouts) else getattr(module, "drop_rate", None) == rate
        for module in model.modules()
    )


def _cut_off(model: nn.Module, resolution: int) -> int:
    """The side of the model's patches if they would leave some pixels over, else 0."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    size = patch[0] if isinstance(patch, tuple | list) else patch
    return size if isinstance(size, int) and resolution % size else 0


def _words_for(answer: Any) -> str:
    return f"a tensor {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
