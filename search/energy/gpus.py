"""Find the GPUs this process may use, by UUID: the only name that CUDA and NVML share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.energy.counters.amd import list_amd_gpus
from search.energy.counters.counter import SensorError
from search.energy.counters.driver import START_S, Driver, sound_text
from search.energy.counters.nvml import count_gpus, start_nvml, stop_nvml

_UUID_LENGTH = len("GPU-00000000-0000-0000-0000-000000000000")
_NONE = ([""], ["-1"], ["NoDevFiles"])  # three ways to say "none"; the last is Slurm's


@dataclass(frozen=True)
class Gpu:
    """A GPU of the machine's list; `why` says why its UUID or model is empty."""

    uuid: str
    model: str
    why: str = ""


@dataclass(frozen=True)
class VisibleGpus:
    """The GPUs and MIG slices that CUDA shows this process.

    Attributes:
        reason: Why some were not found or may be the wrong ones; empty if all is well.
    """

    uuids: tuple[str, ...] = ()
    reason: str = ""


def visible_gpus(environ: Mapping[str, str]) -> VisibleGpus:
    """Find what CUDA_VISIBLE_DEVICES names: indices, UUIDs or their prefixes, MIG ids.

    If unset, it means all GPUs of the machine; if empty, none. As in CUDA, the first entry that names nothing
    ends the list. NVML itself ignores the variable.

    Without an NVIDIA driver, AMD GPUs are listed if amdsmi knows any; HIP_VISIBLE_DEVICES then takes
    precedence.
    """
    entries = _entries(environ.get("CUDA_VISIBLE_DEVICES"))
    if entries in _NONE:
        return VisibleGpus()
    try:
        gpus = list_gpus()
    except SensorError as error:
        return _visible_amd_gpus(environ) or VisibleGpus(_full_uuids(entries), reason=f"gpu: {error}")
    if entries is None:
        return _all(gpus)
    return _named(entries, gpus, by_pci=environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID")


def visible_gpu_uuids(environ: Mapping[str, str]) -> list[str]:
    """Return only the UUIDs of `visible_gpus`, for callers that do not report why some may be missing."""
    return list(visible_gpus(environ).uuids)


def list_gpus() -> list[Gpu]:
    """Return all GPUs of this machine in NVML's order, which is that of the PCI bus.

    Raises:
        SensorError: There is no NVML here, or it does not answer.
    """
    nvml = start_nvml()
    try:
        return [_gpu(nvml, index) for index in range(count_gpus(nvml))]
    except SensorError as error:
        raise SensorError(f"NVML cannot list the GPUs: {error}; see nvidia-smi and dmesg") from error
    finally:
        stop_nvml(nvml)


def _gpu(nvml: Driver, index: int) -> Gpu:
    uuid = model = why = ""
    try:  # a lost GPU keeps its index, so that the numbers of later GPUs stay right
        handle = nvml.ask("nvmlDeviceGetHandleByIndex", index, limit_s=START_S)
        uuid = sound_text(nvml.ask("nvmlDeviceGetUUID", handle))
        model = sound_text(nvml.ask("nvmlDeviceGetName", handle))
    except SensorError as error:
        why = str(error)
    return Gpu(uuid, model, why)


def _all(gpus: Sequence[Gpu]) -> VisibleGpus:
    """Return every GPU that reports its UUID; a lost GPU is reported and left out."""
    uuids = tuple(gpu.uuid for gpu in gpus if gpu.uuid)
    nameless = [_unnamed(str(index), gpu) for index, gpu in enumerate(gpus) if not gpu.uuid]
    return VisibleGpus(uuids, "; ".join(nameless))


def _unnamed(entry: str, gpu: Gpu) -> str:
    return f"gpu: GPU {entry} does not say which one it is ({gpu.why}); see nvidia-smi and dmesg"


def _full_uuids(entries: Sequence[str] | None) -> tuple[str, ...]:
    """Return the entries if all are full UUIDs, which can be opened without a list of GPUs."""
    found = entries or ()
    is_full = all(entry.startswith("MIG-") or len(entry) == _UUID_LENGTH for entry in found)
    return tuple(dict.fromkeys(found)) if is_full else ()


def _visible_amd_gpus(environ: Mapping[str, str]) -> VisibleGpus | None:
    """Find the visible AMD GPUs; None if there is no amdsmi."""
    try:
        gpus = [Gpu(uuid, model) for uuid, model in list_amd_gpus()]
    except SensorError:
        return None
    entries = _entries(environ.get("HIP_VISIBLE_DEVICES", environ.get("CUDA_VISIBLE_DEVICES")))
    if entries is None:
        return _all(gpus)
    return VisibleGpus() if entries in _NONE else _named(entries, gpus, by_pci=True)


def _entries(wanted: str | None) -> list[str] | None:
    """Return the entries of the variable; None if it is unset, which means all GPUs."""
    return None if wanted is None else [entry.strip() for entry in wanted.split(",")]


def _named(entries: Sequence[str], gpus: Sequence[Gpu], *, by_pci: bool) -> VisibleGpus:
    """Return the GPUs that the entries name, up to the first that names nothing: CUDA stops there too."""
    uuids: list[str] = []
    for entry in entries:
        uuid = _uuid(entry, gpus)
        if uuid is None:
            reason = f"gpu: CUDA_VISIBLE_DEVICES names {entry!r}, which is none of the {len(gpus)} GPUs here"
            return VisibleGpus(tuple(uuids), f"{reason}; nvidia-smi -L lists them")
        if not uuid:
            return VisibleGpus(tuple(uuids), _unnamed(entry, gpus[int(entry)]))
        if uuid not in uuids:
            uuids.append(uuid)
    models = sorted({gpu.model for gpu in gpus if gpu.model})
    is_doubtful = len(models) > 1 and not by_pci and any(entry.isdecimal() for entry in entries)
    return VisibleGpus(tuple(uuids), _doubt(models) if is_doubtful else "")


def _doubt(models: Sequence[str]) -> str:
    """Return the warning that an index may mean a different GPU to CUDA than to NVML."""
    return (
        f"gpu: CUDA numbers GPUs fastest first, NVML by PCI bus, and here they differ ({', '.join(models)}): "
        "the joules may be another GPU's; set CUDA_DEVICE_ORDER=PCI_BUS_ID or name GPUs by UUID"
    )


def _uuid(entry: str, gpus: Sequence[Gpu]) -> str | None:
    """Return the UUID that an entry names: empty if the GPU does not report it, None without such a GPU."""
    if entry.isdecimal():
        return gpus[int(entry)].uuid if int(entry) < len(gpus) else None
    if entry.startswith("MIG-"):
        return entry  # NVML lists no slices among the GPUs; opening one finds its parent
    matches = [gpu.uuid for gpu in gpus if entry and gpu.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None
