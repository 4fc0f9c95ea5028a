"""Loading weights from a file into a model: those of a library's hub, and a user's own."""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from trainables.core.checkpoint import check_seal
from trainables.core.contract import WeightsError
from trainables.core.files import GIT_LFS_POINTER

_TIMM = logging.getLogger("timm.models._builder")
_COUNTER = "num_batches_tracked"  # of BatchNorm; some savers leave it out
_MOST_OF_A_HEAD = 2  # tensors
_MIN_FRACTION = 0.5  # of the backbone's matrices: a filter may change the shape of some, never of half


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
        _check_kind(path)
        yield
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        if "Unsupported globals" in str(error):
            reason = "it holds Python objects, not only numbers: save model.state_dict() instead"
        raise WeightsError(f"{path} cannot be read as weights of {model}: {reason}; {_REMEDY}") from error
    finally:
        _TIMM.setLevel(level)


_REMEDY = "give a file that the same model was saved to, or weights: none"


def _check_kind(path: Path) -> None:
    """Raise ValueError for a file that does not hold weights, saying what it really is."""
    with path.open("rb") as file:
        head = file.read(64)
    is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    kinds = {
        "it is empty": not head,
        "it is a pointer of Git LFS: fetch the file with `git lfs pull`": head.startswith(GIT_LFS_POINTER),
        "it is a web page, as a failed download leaves it": head.lstrip()[:1] == b"<",
        "it is a safetensors file: its name must end in .safetensors": is_safetensors
        and path.suffix != ".safetensors",
    }
    if kind := next((kind for kind, is_it in kinds.items() if is_it), ""):
        raise ValueError(kind)


def load_prefixed(model: nn.Module, head: nn.Module, path: Path) -> str:
    """Load a file whose names are the model's behind a prefix, as Lightning's checkpoints have `model.`.

    Its head is left out. Returns the prefix, empty if the file is not of this kind.

    Raises:
        RuntimeError: Shapes differ.
    """
    own, state = model.state_dict(), load_state_dict(str(path))
    found = Counter(name.removesuffix(key) for name in state for key in own if name.endswith(f".{key}"))
    prefix, count = found.most_common(1)[0] if found else ("", 0)
    if own.keys() & state.keys() or count < _MIN_FRACTION * len(own):
        return ""
    of_head = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    kept = [
        name
        for name, tensor in model.state_dict(keep_vars=True).items()
        if id(tensor) not in of_head and f"{prefix}{name}" in state
    ]
    model.load_state_dict({name: state[f"{prefix}{name}"] for name in kept}, strict=False)
    return prefix


def load_backbone(
    model: nn.Module, path: Path, *, heads: Sequence[str], first_conv: str | None = None
) -> None:
    """Load everything but the head from a file: a state dict, or a checkpoint with one in it.

    Args:
        heads: Names of the last layers, which may have another number of classes in the file.
        first_conv: Name of the first convolution; its weights are summed over colours for grey images.

    Raises:
        RuntimeError: Shapes differ.
    """
    state = {
        name: tensor
        for name, tensor in load_state_dict(str(path)).items()
        if not name.startswith(tuple(f"{head}." for head in heads)) and isinstance(tensor, Tensor)
    }
    weight = f"{first_conv}.weight"
    if weight in state and state[weight].shape[1] == 3 and model.get_parameter(weight).shape[1] == 1:
        state[weight] = state[weight].sum(dim=1, keepdim=True)
    model.load_state_dict(state, strict=False)


def load_in_order(model: nn.Module, head: nn.Module, path: Path) -> int:
    """Load a file of another implementation of the same model, whose tensors have other names.

    They are taken in order if every shape outside the head is the model's, one after the other: 245 shapes in
    a row are no accident. Returns the number of tensors taken, 0 if the file is not of this kind or has the
    model's own names.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_COUNTER)}
    theirs = {
        name: tensor
        for name, tensor in load_state_dict(str(path)).items()
        if isinstance(tensor, Tensor) and not name.endswith(_COUNTER)
    }
    of_head = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    in_head = [id(tensor) in of_head for tensor in _kept(model, own)]
    pairs = list(zip(own.values(), theirs.values(), in_head, strict=False))
    # A network for features has no head, but the file may have one: a matrix, with a bias or without.
    num_more = len(theirs) - len(own)
    is_whole = num_more == 0 or (not of_head and 0 < num_more <= _MOST_OF_A_HEAD)
    is_same = is_whole and all(a.shape == b.shape or skip for a, b, skip in pairs)
    if not is_same or own.keys() & theirs.keys():
        return 0
    with torch.no_grad():
        for tensor, given, is_of_head in pairs:
            if not is_of_head:
                tensor.copy_(given)
    return len(in_head) - sum(in_head)


def _kept(model: nn.Module, names: Mapping[str, Tensor]) -> list[Tensor]:
    """The named tensors themselves, of which a plain `state_dict` has detached views."""
    tensors = model.state_dict(keep_vars=True)
    return [tensors[name] for name in names]


def check_loaded(model: nn.Module, head: nn.Module, path: Path) -> None:
    """Check that the backbone's weights are those of the file.

    Libraries load whatever has a matching name and leave the rest random: with another model's file, training
    would silently start from scratch.

    Raises:
        ValueError: Fewer than half of the backbone's matrices are in the file.
    """
    in_head = {id(parameter) for parameter in head.parameters()}
    in_file = {_fingerprint(tensor) for tensor in _tensors(load_state_dict(str(path)))}
    matrices = [p.detach() for p in model.parameters() if id(p) not in in_head and p.ndim > 1]
    num_found = sum(_fingerprint(matrix) in in_file for matrix in matrices)
    if num_found < _MIN_FRACTION * len(matrices):
        raise ValueError(f"it holds {num_found} of the model's {len(matrices)} matrices")


def _tensors(state: Mapping[str, Tensor]) -> Iterator[Tensor]:
    return (value for value in state.values() if isinstance(value, Tensor) and value.numel())


def _fingerprint(tensor: Tensor) -> tuple[int, float]:
    """A key that is equal for one matrix under two names or in two shapes."""
    return tensor.numel(), float(tensor.to(torch.float32).flatten()[0])
