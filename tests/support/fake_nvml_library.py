"""The pytest fixtures of the fake NVML: the real nvidia-ml-py on a scripted library built by gcc.

A test module requests them with `pytest_plugins = ["tests.support.fake_nvml_library"]`.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pynvml = pytest.importorskip("pynvml")
SOURCE = Path(__file__).parent / "fake_nvml" / "fake_nvml.c"


# The readings of a healthy GPU besides its joules.
HEALTHY: dict[str, int | str] = {
    "name": "NVIDIA H200",
    "power_limit_mw": 700_000,
    "power_mw": 300_000,
    "gpu_percent": 80,
    "temperature_c": 51,
    "sm_clock_mhz": 1980,
    "memory_clock_mhz": 3201,
    "processes": 0,
    "samples": 0,
}


class FakeNvml:
    """The answers of the fake driver, set by `fake_nvml["0.energy_mj"] = 1500`.

    Keys are those of the C file. A value of "!15" is NVML error 15, a missing key NOT_SUPPORTED.
    """

    def __init__(self, library: Path, script: Path) -> None:
        self.library = library
        self.script = script
        self._answers: dict[str, int | str] = {}
        self._write()

    def __setitem__(self, key: str, answer: int | str) -> None:
        self._answers[key] = answer
        self._write()

    def __delitem__(self, key: str) -> None:
        del self._answers[key]
        self._write()

    def add_gpu(self, index: int, uuid: str, **answers: int | str) -> None:
        """Put a GPU at `index`; answers are keys without the index, such as energy_mj=0."""
        gpu = {f"{index}.{key}": answer for key, answer in {"uuid": uuid, **answers}.items()}
        self._answers |= {"count": index + 1, **gpu}
        self._write()

    def _write(self) -> None:
        new = self.script.with_suffix(".new")
        text = "".join(f"{key} {answer}\n" for key, answer in self._answers.items())
        new.write_bytes(text.encode(errors="surrogateescape"))  # some bytes may not be valid text
        new.replace(self.script)  # atomically: a sampling thread may read it at any moment


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built library; other processes need its folder in LD_LIBRARY_PATH."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is needed to build the fake NVML: apt install gcc")
    library = tmp_path_factory.mktemp("fake_nvml") / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE], check=True)
    return library


@pytest.fixture
def fake_nvml(fake_nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """A machine without GPUs until `add_gpu`. Fails a test that leaves NVML initialised."""
    loaded = ctypes.CDLL(str(fake_nvml_library))
    fake = FakeNvml(fake_nvml_library, tmp_path / "nvml.txt")
    fake["count"] = 0
    users_before = loaded.fake_nvml_users()  # a test that failed before this one may have left some
    monkeypatch.setenv("FAKE_NVML_SCRIPT", str(fake.script))
    # nvidia-ml-py loads a library only if it has none, and caches the functions it found.
    monkeypatch.setattr(pynvml, "nvmlLib", loaded)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    yield fake
    assert loaded.fake_nvml_users() == users_before, "each nvmlInit needs its nvmlShutdown: close the meter"
