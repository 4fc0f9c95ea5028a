"""Loading a file's weights into a model, and checking that they are the model's."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.core.checkpoint import check_seal
from trainables.core.contract import WeightsError
from trainables.core.weights import unusable_reason
from trainables.engine.state_files import MIN_FRACTION, State

_TIMM = logging.getLogger("timm.models._builder")
_COUNTER = "num_batches_tracked"  # of BatchNorm; some savers leave it out
_MOST_OF_A_HEAD = 4  # tensors; with another block after them, a model would be a deeper one
_STATISTICS = ("running_mean", "running_var")
_LISTED = 4


@contextmanager
def reading_weights(path: Path, model: str) -> Iterator[None]:
    """Context in which errors of reading `path` into the named model become messages that say what to do.

    timm logs every key that it does not know, hundreds for another model's file: `check_loaded` says that
    in one line.

    Raises:
        WeightsError: The file is damaged or holds another model.
    """
    level = _TIMM.level
    _TIMM.setLevel(logging.ERROR)
    try:
        check_seal(path)
        if what := unusable_reason(path):
            raise ValueError(what)
        with torch.device("cpu"):  # whatever the device, as in a rehearsal: a file has values
            yield
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path} cannot be read as weights of {model}: {reason}; {_REMEDY}") from error
    finally:
        _TIMM.setLevel(level)


_REMEDY = "give a file that the same model was saved to, or weights: none"


def load_backbone(
    model: nn.Module, state: State, *, heads: Sequence[str], first_conv: str | None = None
) -> None:
    """Load everything but the head from a state dict.

    Args:
        heads: Names of the last layers, which may have another number of classes in the file.
        first_conv: Name of the first convolution; its weights are summed over colours for grey images.

    Raises:
        RuntimeError: Shapes differ.
    """
    kept = without_heads(state, heads)
    weight = f"{first_conv}.weight"
    if weight in kept and kept[weight].shape[1] == 3 and model.get_parameter(weight).shape[1] == 1:
        kept[weight] = kept[weight].sum(dim=1, keepdim=True)
    model.load_state_dict(kept, strict=False)


def without_heads(state: State, heads: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a state that are not in the named modules."""
    inside = tuple(f"{head}." for head in heads)
    return {name: tensor for name, tensor in state.items() if not name.startswith(inside)}


def load_in_order(model: nn.Module, head: nn.Module, state: State) -> int:
    """Load a state of another implementation of the same model, whose tensors have other names.

    They are taken in order if every shape outside the head is the model's, one after the other: 245 shapes in
    a row are no accident. The file may have another head, or none. Returns the number of tensors
    taken, 0 if the state is not of this kind.
    """
    of_head = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    own = [tensor for name, tensor in _counted_out(model.state_dict(keep_vars=True))]
    backbone = [tensor for tensor in own if id(tensor) not in of_head]
    theirs = [tensor for _, tensor in _counted_out(state)]
    if len(theirs) == len(own):  # its head is where the model's is
        theirs = [tensor for tensor, ours in zip(theirs, own, strict=True) if id(ours) not in of_head]
    num_more = len(theirs) - len(backbone)
    for start in range(num_more + 1 if num_more <= _MOST_OF_A_HEAD else 0):
        pairs = list(zip(backbone, theirs[start:], strict=False))
        if all(ours.shape == given.shape for ours, given in pairs):
            with torch.no_grad():
                for ours, given in pairs:
                    ours.copy_(given)
            return len(pairs)
    return 0


def _counted_out(state: State) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors, without BatchNorm's counters, which some savers leave out."""
    return ((name, tensor) for name, tensor in state.items() if not name.endswith(_COUNTER))


def fraction_found(model: nn.Module, head: nn.Module, state: State) -> float:
    """Fraction of the backbone's matrices that are in a state, under whatever name."""
    found = [is_found for _, tensor, is_found in _found(model, head, state) if tensor.ndim > 1]
    return sum(found) / max(1, len(found))


def check_loaded(
    model: nn.Module, head: nn.Module, state: State, *, whole: Collection[str] = ()
) -> dict[str, str]:
    """Check that the backbone's weights are those of a file; return a note on those that are not.

    Libraries load whatever has a matching name and leave the rest random: with another model's file, training
    would silently start from scratch.

    Args:
        state: All tensors of the file.
        whole: Names of the tensors of the whole model, if `model` is a part of it.

    Raises:
        ValueError: Fewer than half of the backbone's matrices are in the file, or it is a deeper or shallower
            model's: one with the same layers, and more or fewer of them.
    """
    tensors = list(_found(model, head, state))
    matrices = [is_found for _, tensor, is_found in tensors if tensor.ndim > 1]
    if sum(matrices) < MIN_FRACTION * len(matrices):
        theirs, ours = next(iter(state), "nothing"), next(iter(model.state_dict()), "nothing")
        raise ValueError(
            f"it holds {sum(matrices)} of the model's {len(matrices)} matrices (its first name is {theirs}, "
            f"the model's {ours})"
        )
    missing = [name for name, _, is_found in tensors if not is_found and name not in state]
    _check_depth(model, state, missing, whole)
    if not missing:
        return {}
    listed = ", ".join(missing[:_LISTED]) + (" and others" if len(missing) > _LISTED else "")
    text = (
        f"{len(missing)} of the {len(tensors)} tensors before the head are not in the file and start random"
    )
    return {"random weights": f"{text}: {listed}"}


def _check_depth(model: nn.Module, state: State, missing: Sequence[str], whole: Collection[str]) -> None:
    """Raise ValueError if layers are left over or missing whose names have other numbers than those present.

    All layers of a ResNet-18 are also in a ResNet-34, under the same names and in the same shapes. What else
    a file may have or lack (a decoder, a head, statistics) differs in more than numbers.
    """
    own = model.state_dict()
    in_model = {_fingerprint(tensor) for tensor in own.values() if tensor.numel()}
    known = {*own, *whole}
    left = [name for name, tensor in state.items() if name not in known and tensor.numel()]
    left = [name for name in left if _fingerprint(state[name]) not in in_model]
    for names, others, text in ((left, known, "is not in the model"), (missing, state, "is not in the file")):
        kinds = {_without_numbers(name) for name in others}
        if layer := next((name for name in names if _without_numbers(name) in kinds), ""):
            raise ValueError(f"it holds a model with other layers: {layer} {text}")


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _found(model: nn.Module, head: nn.Module, state: State) -> Iterator[tuple[str, Tensor, bool]]:
    """Each tensor that the backbone learns, or BatchNorm averages, and whether its values are in a state."""
    in_head = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    in_file = {_fingerprint(tensor) for tensor in state.values() if tensor.numel()}
    learnt = {id(parameter) for parameter in model.parameters()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in in_head and (id(tensor) in learnt or name.endswith(_STATISTICS)):
            yield name, tensor, tensor.numel() == 0 or _fingerprint(tensor.detach()) in in_file


def _fingerprint(tensor: Tensor) -> tuple[int, float, float]:
    """A key that is equal for one matrix under two names, in two shapes, or transposed."""
    first, last = tensor.flatten()[[0, -1]].to(torch.float32).tolist()
    return tensor.numel(), first, last
