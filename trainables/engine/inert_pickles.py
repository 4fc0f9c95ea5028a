"""Reads the tensors of a checkpoint that also holds Python objects, without executing anything in it.

Checkpoints of real trainings hold more than tensors: a NumPy score, a configuration of yacs or OmegaConf, or
the whole model as an object. `torch.load(weights_only=True)` refuses such a file altogether. Here all classes
and functions in it, except those that make tensors, are replaced by one stand-in that only records what it
is given: none of them is imported or called.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from torch import Tensor


class StandIn(dict[Any, Any]):
    """Replaces an object of any class: a dict of its items.

    Attributes:
        attributes: The object's attributes, if it had been saved with a dict of them.
    """

    attributes: Mapping[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> StandIn:
        self = super().__new__(cls)
        self.attributes = {}
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, *args: Any, **kwargs: Any) -> StandIn:
        return StandIn()

    def __setstate__(self, state: Any) -> None:
        state = state[0] if isinstance(state, tuple) and state else state
        self.attributes = state if isinstance(state, dict) else {}

    def append(self, item: Any) -> None:
        """Accept an item of what was a list, and drop it."""

    def extend(self, items: Any) -> None:
        """Accept items of what was a list, and drop them."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may stand for a key
    __eq__ = object.__eq__


def _rebuilt(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    tensor: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)
    return tensor


# Functions of this module rather than torch's own: a pickle can change attributes of what it is given.
_MAKERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("torch._tensor", "_rebuild_from_type_v2"): lambda make, _, args, *__: make(*args),
    ("collections", "OrderedDict"): OrderedDict,
}


class _InertUnpickler(pickle.Unpickler):
    """An unpickler that finds only what makes tensors. torch adds the types of their storages."""

    def find_class(self, module: str, name: str) -> Any:
        return _MAKERS.get((module, name), StandIn)


def _load(file: BinaryIO, **options: Any) -> Any:
    return _InertUnpickler(file, **options).load()


def read_inertly(file: BinaryIO) -> Any:
    """What `torch.save` wrote, its tensors on the CPU and all other objects as `StandIn`.

    Raises:
        ValueError: The file cannot be read in this way.
    """
    module = SimpleNamespace(__name__=__name__, Unpickler=_InertUnpickler, load=_load)
    try:
        # Despite its name, `weights_only=False` executes nothing here: the unpickler above finds no code.
        return torch.load(file, map_location="cpu", pickle_module=module, weights_only=False)
    except (AttributeError, TypeError) as error:  # a stand-in where torch needs a value
        raise ValueError("it holds Python objects in place of tensors: save model.state_dict()") from error
    except Exception as error:  # of torch, of pickle, and of the many that damaged bytes can lead to
        raise ValueError(f"it is damaged, or torch.save did not write it ({error})") from error
