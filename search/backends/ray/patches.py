"""Detect functions, classes and methods of imported modules that a training replaced.

A training that replaces `torch.nn.functional.relu` or `time.time` would silently change every later trial of
its worker. The members of the standard modules that trainings use, and of numpy, torch, torchvision and timm,
are therefore recorded when imported and compared after each trial, by identity and in C: 3 ms for 20,000 of
them. Private parts that no ordinary training uses by name are left out.
"""

from __future__ import annotations

import operator
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_CALLABLE = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.GetSetDescriptorType,
    type,
    staticmethod,
    classmethod,
    property,
)
_PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset)
_STANDARD = frozenset(
    re.findall(
        r"\w+",
        """builtins bisect collections contextlib copy csv datetime functools gc glob heapq io itertools json
        math operator os pathlib pickle random re shutil statistics struct subprocess sys threading time""",
    )
)
_LIBRARIES = frozenset({"numpy", "torch", "torchvision", "timm", "trainables"})
# Three quarters of torch's and numpy's functions, none of which an ordinary training calls by name.
_PRIVATE = (
    "torch._",
    "torch.ao",
    "torch.compiler",
    "torch.distributed",
    "torch.export",
    "torch.fx",
    "torch.jit",
    "torch.masked",
    "torch.onnx",
    "torch.package",
    "torch.profiler",
    "torch.testing",
    "torch.utils.",
    "numpy._",
    "numpy.f2py",
    "numpy.testing",
    "numpy.ma",
    "numpy.polynomial",
    "timm.models.",
    "torchvision.models.",
)
_LAZY = frozenset({"Storage"})  # torch creates it when it first saves
_WATCHED = ("torch._tensor", "torch._C", "torch.utils.data")


@dataclass(frozen=True)
class _Namespace:
    """A module or class with the members that it had when it was imported.

    Attributes:
        members: Names of the members; `values` has their values in the same order.
        read: An `itemgetter` that reads all members in one call in C.
        number: How many members a class had, since an added one hides a base's. None for modules, to which
            imports add members all the time.
    """

    owner: Any
    name: str
    members: tuple[str, ...]
    values: tuple[Any, ...]
    read: Callable[[Any], Any]
    number: int | None

    def is_whole(self) -> bool:
        """Whether nothing changed: compared by identity first, in C, 20,000 members in about 3 ms."""
        now = vars(self.owner)
        try:
            return bool(self.read(now) == self.values) and self.number in (None, len(now))
        except KeyError:
            return False

    def with_changes(self, *, but: set[str]) -> _Namespace:
        """Return the namespace as it is now, but with the old values of the members in `but`."""
        now = vars(self.owner)
        pairs = [
            (member, value if member in but else now[member])
            for member, value in zip(self.members, self.values, strict=True)
            if member in but or member in now
        ]
        members, values = zip(*pairs, strict=True)
        number = None if self.number is None else len(now)
        return replace(
            self, members=members, values=values, read=operator.itemgetter(*members), number=number
        )

    def changed(self) -> Iterator[str]:
        """Yield names of members that were replaced, and of functions that were added to a class."""
        now = vars(self.owner)
        for member, value in zip(self.members, self.values, strict=True):
            found = now.get(member)
            is_same = found is value or (isinstance(value, _PLAIN) and found == value)
            if not is_same and not _is_own_wrapper(found, value):
                yield member
        if self.number is not None and self.number != len(now):
            yield from (
                name for name in now.keys() - set(self.members) if isinstance(now[name], types.FunctionType)
            )


class Patches:
    """The members of watched modules as they were imported.

    Args:
        is_own: Whether a file belongs to the user's trainable, whose modules' plain values are watched too.
    """

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own
        self._seen: dict[str, types.ModuleType] = {}
        self._namespaces: list[_Namespace] = []
        self.take()

    def take(self) -> None:
        """Record the modules imported since the last call."""
        for name, module in list(sys.modules.items()):
            if self._seen.get(name) is module or not isinstance(module, types.ModuleType):
                continue
            file = getattr(module, "__file__", None) or ""
            is_own = module is not sys.modules.get("__main__") and self._is_own(file)
            if is_own or _is_watched(name):
                self._forget(name)
                self._namespaces += _namespaces(name, module, _CALLABLE + (_PLAIN if is_own else ()))
            self._seen[name] = module

    def changed(self) -> set[tuple[int, str]]:
        """Return the members that changed, in the form that `keep_changes_since` takes."""
        return {
            (id(space.owner), member)
            for space in self._namespaces
            if not space.is_whole()
            for member in space.changed()
        }

    def keep_changes_since(self, before: set[tuple[int, str]]) -> None:
        """Accept changes since `before`, which an import made, such as that of `torch._dynamo`."""
        for number, space in enumerate(self._namespaces):
            if space.is_whole():
                continue
            was_changed = {member for owner, member in before if owner == id(space.owner)}
            self._namespaces[number] = space.with_changes(but=was_changed)

    def put_back(self) -> list[str]:
        """Restore what was replaced, so that this process can end in order, and return the names.

        Copies of a patched function may be anywhere (`from time import time`), so the process must not train
        another trial.
        """
        names = []
        for space in self._namespaces:
            if space.is_whole():
                continue
            values = dict(zip(space.members, space.values, strict=True))
            for member in space.changed():
                names.append(f"{space.name}.{member}")
                _set(space.owner, member, values)
        return names

    def _forget(self, name: str) -> None:
        if name in self._seen:  # a user's file is executed again for each trial
            old = self._seen[name]
            self._namespaces = [one for one in self._namespaces if one.owner is not old]


def _is_watched(name: str) -> bool:
    """Return whether ordinary trainings call functions of this module by name."""
    root = name.partition(".")[0]
    if root in _STANDARD:
        return "." not in name
    return root in _LIBRARIES and (name.startswith(_WATCHED) or not name.startswith(_PRIVATE))


def _namespaces(name: str, module: types.ModuleType, kinds: tuple[type, ...]) -> Iterator[_Namespace]:
    """Yield the module and the classes defined in it, but not those it imports, so that each comes once."""
    content = vars(module)
    if found := _namespace(module, name, content, kinds, number=None):
        yield found
    for value in list(content.values()):
        if not isinstance(value, type) or value.__module__ != name:
            continue
        title, members = f"{name}.{value.__name__}", vars(value)
        if found := _namespace(value, title, members, kinds, number=len(members)):
            yield found


def _namespace(
    owner: Any, name: str, content: Mapping[str, Any], kinds: tuple[type, ...], *, number: int | None
) -> _Namespace | None:
    """Return the namespace of one module or class; None if it has fewer than two members."""
    members = tuple(
        member
        for member, value in content.items()
        if (type(value) in kinds or isinstance(value, type)) and member not in _LAZY
    )
    if len(members) < 2:  # for a single member, itemgetter returns no tuple
        members += tuple(member for member in content if member not in members)[: 2 - len(members)]
    if len(members) < 2:
        return None
    read = operator.itemgetter(*members)
    return _Namespace(owner, name, members, read(content), read, number)


def _is_own_wrapper(found: Any, value: Any) -> bool:
    """Whether `found` is torch.optim's wrapper of an optimiser class's `step`, made with its first object."""
    return getattr(found, "hooked", False) is True and getattr(found, "__wrapped__", None) is value


def _set(owner: Any, member: str, values: Mapping[str, Any]) -> None:
    """Restore a member, or remove an added one.

    If that fails, nothing more can be done: a process with a replaced function ends in any case.
    """
    try:
        if member in values:
            setattr(owner, member, values[member])
        else:
            delattr(owner, member)
    except (AttributeError, TypeError):  # the class is immutable; the process ends in any case
        pass
