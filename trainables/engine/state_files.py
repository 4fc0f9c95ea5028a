"""The state dict for a model in a file of weights, wherever the file has it and under whatever prefix.

Trainings save it bare or under a key (`state_dict`, `model`, `net`, `ema`, `teacher`), and wrap the model:
`module.`, `_orig_mod.`, `model.`, `backbone.`, `encoder_q.`. No list of such names is needed: among all
mappings of names to tensors in the file, that one is taken, behind that prefix, which fits the model best.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trainables.core.weights import SHARD_INDEX, is_safetensors
from trainables.engine.inert_pickles import StandIn, read_inertly

State = Mapping[str, Tensor]

MIN_FRACTION = 0.5  # of a model's tensors: a library may change names or shapes of some, never of half
_AVERAGED = re.compile(r"(?<![a-z])(ema|teacher|swa|average)(?![a-z])")
_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")


@dataclass(frozen=True)
class FoundState:
    """A state dict of a file, without the prefix of its names.

    Attributes:
        keys: Leads to it in the file's content.
        prefix: What was in front of each name.
        num_fitting: Number of tensors of the model that have the same name and shape here.
        rivals: Keys and prefixes of others in the file that fit as well.
    """

    tensors: State
    keys: tuple[str, ...] = ()
    prefix: str = ""
    num_fitting: int = 0
    rivals: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the file has it, such as "teacher.backbone"."""
        return ("".join(f"{key}." for key in self.keys) + self.prefix).rstrip(".") or "the outermost names"

    def notes(self) -> dict[str, str]:
        """A note if a choice was made that the user may not expect."""
        told = f"the file has the model's names after the prefix {self.prefix}" if self.prefix else ""
        if self.rivals:
            told = f"the file has this model {len(self.rivals) + 1} times: {self.place} was taken, not "
            told += ", ".join(self.rivals)
        return {"weights": told} if told else {}


def state_for(path: Path, own: State) -> FoundState:
    """The state dict in a file that fits a model best; averaged weights rather than others that fit as well.

    If none has half of the model's tensors under their own names, it is the largest in the file, as other
    implementations name the same layers differently.

    Args:
        own: The model's own tensors by name; they need no values.

    Raises:
        ValueError: The file holds no tensors by name, or cannot be read.
    """
    states = list(_states(read_content(path)))
    if not states:
        raise ValueError("it holds no tensors with names: save model.state_dict()")
    fitting = [found for keys, state in states for found in _behind_prefixes(keys, state, own)]
    # The first of several maxima.
    best = max(fitting, key=lambda found: (found.num_fitting, _is_averaged(found.place)), default=None)
    if best and best.num_fitting >= MIN_FRACTION * len(own):
        equal = [found.place for found in fitting if found.num_fitting == best.num_fitting]
        return replace(best, rivals=tuple(place for place in equal if place != best.place))
    keys, state = max(states, key=lambda each: (len(each[1]), _is_averaged(".".join(each[0]))))
    return FoundState({_WRAPPERS.sub("", name): tensor for name, tensor in state.items()}, keys)


def largest_state(path: Path) -> State:
    """The largest state dict of a file, for whoever knows the names that it may have."""
    return state_for(path, {}).tensors


def read_content(path: Path) -> Any:
    """What a file of weights holds, with its tensors on the CPU; nothing in it is executed.

    An index of several safetensors files stands for all of them.

    Raises:
        ValueError: It cannot be read.
        RuntimeError: So torch says.
    """
    if path.name.endswith(SHARD_INDEX):
        try:
            shards = sorted({*json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it has no weight_map, which names a file for each tensor") from error
        parts = [read_content(path.with_name(Path(shard).name)) for shard in shards]
        return {name: tensor for part in parts for name, tensor in part.items()}
    if is_safetensors(path):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"it is cut short ({error})") from error
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        except TypeError as error:  # bfloat16, as JAX saves it, is no type of NumPy's
            raise ValueError(f"it has arrays without a type of torch's ({error}): save float32") from error
        except (zlib.error, BadZipFile) as error:
            raise ValueError(f"it is damaged ({error})") from error
    # Opened here: torch would go by the file's name.
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles of other protocols, which the second way reads
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # it holds more than tensors and plain values
            file.seek(0)
            return read_inertly(file)


def _states(
    content: Any, keys: tuple[str, ...] = (), seen: frozenset[int] = frozenset()
) -> Iterator[tuple[tuple[str, ...], State]]:
    """Each mapping of names to tensors in a content, and each module, with the keys that lead to it."""
    if not isinstance(content, Mapping) or id(content) in seen:  # a pickle may contain itself
        return
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
    }
    if isinstance(content, StandIn):
        tensors |= dict(_of_module(content))
    if tensors:
        yield keys, tensors
    inside = {**content, **(content.attributes if isinstance(content, StandIn) and not tensors else {})}
    for name, value in inside.items():
        yield from _states(value, (*keys, str(name)), seen | {id(content)})


def _of_module(module: StandIn, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a pickled torch module, read from its attributes."""
    for kind in ("_parameters", "_buffers"):
        for name, value in _mapping(module.attributes.get(kind)).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
    for name, child in _mapping(module.attributes.get("_modules")).items():
        if isinstance(child, StandIn) and depth < 50:  # modules of real networks are some ten deep
            yield from _of_module(child, f"{prefix}{name}.", depth + 1)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _behind_prefixes(keys: tuple[str, ...], state: State, own: State) -> Iterator[FoundState]:
    """The state under each prefix behind which it has half as many of the model's names as there are."""
    counts = Counter(prefix for name in state for prefix, rest in _split(name) if rest in own)
    for prefix, count in counts.items():
        if count >= MIN_FRACTION * len(own):
            tensors = {
                name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)
            }
            num_fitting = sum(
                name in tensors and tensors[name].shape == tensor.shape for name, tensor in own.items()
            )
            yield FoundState(tensors, keys, prefix, num_fitting)


def _split(name: str) -> Iterator[tuple[str, str]]:
    """Each way to see a name as a prefix, which is empty or ends with a dot, and a rest."""
    places: Sequence[int] = [0, *(match.end() for match in re.finditer(r"\.", name))]
    return ((name[:place], name[place:]) for place in places)


def _is_averaged(place: str) -> bool:
    return _AVERAGED.search(place.lower()) is not None
