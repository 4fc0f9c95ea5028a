"""Trainables in Python files of the user's, imported with the modules beside them.

As when Python runs a file, `import losses` in it finds losses.py in the same folder, and `Path(__file__)`
leads to the data beside it. Python would prepend that folder to `sys.path`, which would let its files shadow
standard modules for the whole process. Instead a finder searches the folder without shadowing those, and a
neighbour with the name of one is refused where it is imported. If files of two folders are loaded in one
process, only neighbours of the file in use can be imported; the others are kept until their file is used.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.core.contract import Trainable, UnknownTrainable
from trainables.core.suggest import suggest_path

_OWN = {"jouletune", "search", "trainables"}
_RESERVED = sys.stdlib_module_names | _OWN
_Version = tuple[str | None, int, int]
_EXPECTED = "end the file with TRAINABLE = Trainable(hparams=..., metric=..., mode=..., start=...)"
_OR_SCRIPT = "; a script is searched as it is with trainable: command"


def load_file(path: Path) -> Trainable:
    """Run the file and return its TRAINABLE.

    The file runs each time. Its neighbours are imported once, and all again after one has changed on disk.

    Raises:
        UnknownTrainable: There is no such file, it fails on import, one of its imports is ambiguous, or it
            exports no TRAINABLE. The message names file and line.
    """
    if not path.is_file():
        raise UnknownTrainable(f"trainable file {path} does not exist{suggest_path(path)}")
    path = path.absolute()
    folder = path.resolve().parent
    _beside.use(folder)
    _beside.forget_changed()
    _check_imports(path)
    trainable = _exported(_run(path, folder), path)
    _beside.remember()
    return _reaching_neighbours(trainable, folder)


class _Neighbours(MetaPathFinder):
    """Finds modules beside the file in use, before installed modules but after Python's own."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._folders: list[str] = []
        self._names: dict[Path, set[str]] = {}
        self._kept: dict[Path, dict[str, ModuleType]] = {}
        self._versions: dict[str, _Version] = {}

    def use(self, folder: Path) -> None:
        """Make the neighbours in `folder` importable, in place of those in the previous folder."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        if folder != self._folder:
            self._put_away()
            self._folder, self._folders = folder, [str(folder), *map(str, _package_roots(folder))]
            sys.path += self._folders  # at the end; for packages without __init__.py, and spawned processes
            sys.modules.update(self._kept.pop(folder, {}))

    def forget_changed(self) -> None:
        """Unload all neighbours, to be imported again, if the file of one has changed since `remember`."""
        imported = self._imported()
        if any(self._versions.get(name, now) != now for name, now in _versions(imported).items()):
            for name in imported:
                del sys.modules[name]
                self._versions.pop(name, None)
            importlib.invalidate_caches()

    def remember(self) -> None:
        """Record the versions of the imported neighbours."""
        self._versions = _versions(self._imported()) | self._versions

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a neighbour's spec; None for submodules, which their package finds by itself."""
        if path is not None or fullname in _RESERVED:
            return None
        spec = self.neighbour(fullname)
        if spec and self._folder:
            self.add(fullname)
        return spec

    def neighbour(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module beside the file, whether or not another module has its name."""
        spec = importlib.machinery.PathFinder.find_spec(name, self._folders)
        return spec if spec and spec.loader else None

    def add(self, name: str) -> None:
        """Record a top-level module as one of this folder's."""
        assert self._folder
        self._names.setdefault(self._folder, set()).add(name)

    def has(self, name: str) -> bool:
        return self._folder is not None and name in self._names.get(self._folder, ())

    def _imported(self) -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if self.has(name.partition(".")[0])}

    def _put_away(self) -> None:
        if self._folder:
            self._kept[self._folder] = self._imported()
            for name in self._kept[self._folder]:
                del sys.modules[name]
            for folder in self._folders:
                if folder in sys.path:
                    sys.path.remove(folder)


_beside = _Neighbours()


def _reaching_neighbours(trainable: Trainable, folder: Path) -> Trainable:
    """Return the trainable with functions that can import neighbours when they are called."""
    calls = {
        name: function
        for name in ("start", "weights", "check_data", "check_device")
        if getattr(function := getattr(trainable, name), "__module__", None)
        != Trainable.__module__  # not a default
    }
    return replace(trainable, **{name: _in_folder(folder, function) for name, function in calls.items()})  # type: ignore[arg-type]


def _in_folder(folder: Path, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that the neighbours of its file are importable when it is called."""

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        _beside.use(folder)
        return function(*arguments, **options)

    return called


def _versions(modules: Mapping[str, ModuleType]) -> dict[str, _Version]:
    """The file, modification time and size of each module; 0 and 0 if it has no file."""
    found = {}
    for name, module in modules.items():
        file = getattr(module, "__file__", None)
        try:
            stat = Path(file or "").stat()
            found[name] = (file, stat.st_mtime_ns if file else 0, stat.st_size if file else 0)
        except OSError:
            found[name] = (file, 0, 0)
    return found


def _package_roots(folder: Path) -> list[Path]:
    """The folder above the package that the file belongs to, as in `from models.net import Net`."""
    root = folder
    while (root / "__init__.py").is_file() and root.parent != root:
        root = root.parent
    return [root] if root != folder else []


def _check_imports(path: Path) -> None:
    """Check that the imports of the file, and of its neighbours in turn, are unambiguous.

    Raises:
        UnknownTrainable: A neighbour has the name of another module; every such import is listed.
    """
    to_read, seen, problems = [path], {path}, []
    while to_read:
        file = to_read.pop()
        for name, line in _imports_of(file):
            spec = _beside.neighbour(name)
            if spec is None or spec.origin is None:
                continue
            if (origin := Path(spec.origin)) == path:
                continue  # a file named random.py that imports random means Python's module
            if taken := _taken_by(name, origin):
                beside = origin if origin.name != "__init__.py" else origin.parent
                problems.append(f"{beside} has the name of {taken}, which {file}, line {line}, imports")
            elif origin not in seen and origin.suffix == ".py":
                seen.add(origin)
                to_read.append(origin)
    if problems:
        raise UnknownTrainable("; ".join([*problems, "rename the one beside the trainable"]))


def _taken_by(name: str, origin: Path) -> str:
    """The other module that the name means here; empty if it means the neighbour."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded and Path(loaded).resolve() == origin.resolve():
        return ""
    if name in sys.stdlib_module_names:
        return f"Python's own module {name}"
    if name in _OWN:
        return f"jouletune's package {name}"
    is_elsewhere = name in sys.modules and not _beside.has(name)
    return f"an installed module {name} (in use already)" if is_elsewhere else ""


def _imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Top-level names of the modules that a file imports, with lines; none if it cannot be parsed."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # reported when the file is run
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], node.lineno


def _run(path: Path, folder: Path) -> ModuleType:
    """Import the file, under its own name if that is free.

    Raises:
        UnknownTrainable: It fails or exits the interpreter; the message has the line.
    """
    name = _module_name(path, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    if not name.startswith("user_trainable_"):
        _beside.add(name.partition(".")[0])
    try:
        if "." in name:
            importlib.import_module(name.rpartition(".")[0])
        sys.modules[name] = module  # dataclasses and pickle look their module up
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise UnknownTrainable(_failure_text(path, folder, error)) from error
    return module


def _module_name(path: Path, folder: Path) -> str:
    """The file's own module name if that is free, so that neighbours and pickles find it; else another."""
    packages = [above.name for above in (folder, *folder.parents)]
    depth = len(folder.parts) - len(_package_roots(folder)[0].parts) if _package_roots(folder) else 0
    parts = [*reversed(packages[:depth]), path.stem]
    spec = importlib.machinery.PathFinder.find_spec(parts[0])
    is_free = parts[0] not in _RESERVED and (spec is None or _is_below(spec, folder))
    is_free &= parts[0] not in sys.modules or _beside.has(parts[0])
    if is_free and all(part.isidentifier() for part in parts):
        return ".".join(parts)
    return f"user_trainable_{path.stem.replace('.', '_')}"


def _is_below(spec: importlib.machinery.ModuleSpec, folder: Path) -> bool:
    """Whether a found module belongs to the folder, so that no other module has its name."""
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    roots = {folder, *_package_roots(folder)}
    return any(place and Path(place).resolve().parent in roots for place in places)


def _failure_text(path: Path, folder: Path, error: BaseException) -> str:
    """Describe the failed import, with the last traceback line within the user's own files."""
    kind, message = type(error).__name__, str(error)
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})" if error.filename else ""
        return f"{path} fails on import: {kind}: {error.msg}{place}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(folder) or frame.filename == str(path)
    ]
    last = (own or frames)[-1]
    text = f"{path} fails on import: {kind}: {message} ({last.filename}, line {last.lineno})"
    if isinstance(error, SystemExit):
        text += '; it is imported, not run: what it does when run belongs under if __name__ == "__main__"'
        text += _OR_SCRIPT
    return text


def _exported(module: ModuleType, path: Path) -> Trainable:
    """Return the file's TRAINABLE.

    Raises:
        UnknownTrainable: There is none, it is something else, or it has another name; the message has the
            line.
    """
    found = getattr(module, "TRAINABLE", None)
    if isinstance(found, Trainable):
        return found
    lines = {
        target.id: node.lineno
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if "TRAINABLE" in vars(module):
        got = f"line {lines.get('TRAINABLE', '?')}: TRAINABLE is {_shown_type(found)}, not a Trainable"
        raise UnknownTrainable(f"{path}, {got}; {_EXPECTED}")
    named = [name for name, value in vars(module).items() if isinstance(value, Trainable)]
    if named:
        where = f"{path}, line {lines.get(named[0], '?')}"
        raise UnknownTrainable(f"{where}: the Trainable is called {named[0]}; call it TRAINABLE")
    raise UnknownTrainable(f"{path} exports no TRAINABLE; {_EXPECTED}{_OR_SCRIPT}")


def _shown_type(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
