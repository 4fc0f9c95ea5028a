"""Whether functions, classes and methods of imported modules are still those that were imported.

A training that replaces `torch.nn.functional.relu` or `time.time` would change every later trial of its
worker, in silence. The members of the standard modules that trainings use, and of numpy, torch, torchvision
and timm, are therefore kept as they were imported and compared after each trial, by identity and in C: 3 ms
for 20,000 of them. Private parts that no ordinary training touches by name are left out.
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
# Three quarters of torch's and numpy's functions, of which no ordinary training calls one by name.
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
_LAZY = frozenset({"Storage"})  # torch makes it when it first saves
_WATCHED = ("torch._tensor", "torch._C", "torch.utils.data")


@dataclass(frozen=True)
class _Namespace:
    """A module or class with the members that it had when it was imported.

    Attributes:
        members: Names; `values` are theirs, in this order.
        read: An `itemgetter` of all members, which reads them in one call in C.
        number: How many members a class had: one that is added hides a base's. None of a module, where
            imports add members all the time.
    """

    owner: Any
    name: str
    members: tuple[str, ...]
    values: tuple[Any, ...]
    read: Callable[[Any], Any]
    number: int | None  # of a class's members: one that is added hides a base's

    def is_whole(self) -> bool:
        """Compared by identity first, in C: 20,000 members in about 3 ms."""
        now = vars(self.owner)
        try:
            return bool(self.read(now) == self.values) and self.number in (None, len(now))
        except KeyError:
            return False

    def with_changes(self, *, but: set[str]) -> _Namespace:
        """As it is now, apart from these members."""
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
        """Names of members that are another object now, and of functions that were added to a class."""
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
        is_own: Whether a file belongs to the user's trainable: of its modules plain values count as well.
    """

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own
        self._seen: dict[str, types.ModuleType] = {}
        self._namespaces: list[_Namespace] = []
        self.take()

    def take(self) -> None:
        """Take in the modules that were imported since the last call."""
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
        """Which members are not what they were, as `keep_changes_since` takes them."""
        return {
            (id(space.owner), member)
            for space in self._namespaces
            if not space.is_whole()
            for member in space.changed()
        }

    def keep_changes_since(self, before: set[tuple[int, str]]) -> None:
        """Take for right what has changed since `before`: an import did it, as that of `torch._dynamo`."""
        for number, space in enumerate(self._namespaces):
            if space.is_whole():
                continue
            was_changed = {member for owner, member in before if owner == id(space.owner)}
            self._namespaces[number] = space.with_changes(but=was_changed)

    def put_back(self) -> list[str]:
        """Put back what was replaced, so that this process can end in order; the names of it all.

        Copies of a patched function may be anywhere (`from time import time`): the process must not continue.
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
        if name in self._seen:  # a user's file is run again for each trial
            old = self._seen[name]
            self._namespaces = [one for one in self._namespaces if one.owner is not old]


def _is_watched(name: str) -> bool:
    """Whether a module is one whose functions ordinary trainings call by name."""
    root = name.partition(".")[0]
    if root in _STANDARD:
        return "." not in name
    return root in _LIBRARIES and (name.startswith(_WATCHED) or not name.startswith(_PRIVATE))


def _namespaces(name: str, module: types.ModuleType, kinds: tuple[type, ...]) -> Iterator[_Namespace]:
    """The module and the classes that are defined in it, not those that it imports: each once."""
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
    """One module or class; None if it has fewer than two members to watch."""
    members = tuple(
        member
        for member, value in content.items()
        if (type(value) in kinds or isinstance(value, type)) and member not in _LAZY
    )
    if len(members) < 2:  # of one, itemgetter gives no tuple
        members += tuple(member for member in content if member not in members)[: 2 - len(members)]
    if len(members) < 2:
        return None
    read = operator.itemgetter(*members)
    return _Namespace(owner, name, members, read(content), read, number)


def _is_own_wrapper(found: Any, value: Any) -> bool:
    """What torch.optim does to `step` of an optimiser's class when its first object is made."""
    return getattr(found, "hooked", False) is True and getattr(found, "__wrapped__", None) is value


def _set(owner: Any, member: str, values: Mapping[str, Any]) -> None:
    """Put one member back, or remove one that was added. Where that fails nothing more can be done here: a
    process with a replaced function ends in any case."""
    try:
        if member in values:
            setattr(owner, member, values[member])
        else:
            delattr(owner, member)
    except (AttributeError, TypeError):  # of a class that takes no changes: the process ends all the same
        pass
