"""Weights fetched ahead of time, from a hub on loopback: the only time that the network is used."""

from __future__ import annotations

import hashlib
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.support import weight_files
from tests.support.fake_hub import running_hub
from tests.support.weight_files import TIMM, TIMM_FILE
from trainables.core.contract import WeightFile, WeightsError
from trainables.core.weights import fetch, locate

ROOT = Path(__file__).parents[2]
HUB_PATH = "/timm/resnet10t.c3_in1k/resolve/main/"

SPACE = f"""
parameters:
  model: {{values: [resnet20, {TIMM}]}}
  lr: {{min: 0.01, max: 0.1}}
  weights: {{values: [none, hub]}}
search: {{data: digits, ladder: {{epochs: [1]}}, when: {{weights: {{model: {TIMM}}}}}}}
"""


def preflight(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    (folder / "space.yaml").write_text(SPACE)
    return subprocess.run(
        [sys.executable, ROOT / "scripts/preflight.py", "--space", "./space.yaml", *arguments],
        cwd=folder,
        env={**clean, "NO_COLOR": "1", "HF_HOME": str(folder / "hf"), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_download_fetches_what_any_point_needs_and_then_nothing_asks_the_hub(tmp_path: Path) -> None:
    files = {f"{HUB_PATH}model.safetensors": save(weight_files.timm_model().state_dict())}
    with running_hub(files) as hub:
        done = preflight(tmp_path, "--download", HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
        assert f"GET {HUB_PATH}model.safetensors" in hub.requests
        assert done.stderr.splitlines() == [
            "fetching 1 file, about 21 MiB",
            f"fetching {TIMM_FILE} (about 21 MiB)",
        ]
        assert [line.split()[1:5] for line in done.stdout.splitlines() if "yes" in line] == [
            [TIMM, "│", "timm,", "Hugging"]
        ]
        hub.requests.clear()
        done = preflight(tmp_path, HF_ENDPOINT=hub.url)
        assert done.returncode == 0, done.stderr
        assert hub.requests == []


SEARCH = (
    "scripts/search.py",
    "--space",
    "./space.yaml",
    "--backend",
    "local",
    "--name",
    "run",
    "--no-report",
)
SMALL = ("--trials", "2", "--budget-subset", "64", "--set", "search.validation_subset=0.1")


def environment(folder: Path, hub: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    (folder / "space.yaml").write_text(SPACE)
    return {**clean, "NO_COLOR": "1", "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub}


@pytest.mark.slow
def test_a_search_downloads_what_is_missing_where_it_is_told_to(tmp_path: Path) -> None:
    files = {f"{HUB_PATH}model.safetensors": save(weight_files.timm_model().state_dict())}
    with running_hub(files) as hub:
        done = subprocess.run(
            [sys.executable, str(ROOT / SEARCH[0]), *SEARCH[1:], *SMALL, "--download"],
            cwd=tmp_path,
            env=environment(tmp_path, hub.url),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "fetching 1 file, about 21 MiB" in done.stderr
    assert (tmp_path / "results" / "run" / "trials.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 2)])
def test_a_search_in_a_terminal_asks_once(tmp_path: Path, answer: str, status: int) -> None:
    files = {f"{HUB_PATH}model.safetensors": save(weight_files.timm_model().state_dict())}
    ours, theirs = pty.openpty()
    with running_hub(files) as hub:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / SEARCH[0]), *SEARCH[1:], *SMALL],
            cwd=tmp_path,
            env=environment(tmp_path, hub.url),
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        seen = read_all(ours)
        assert process.wait(300) == status, seen
    assert seen.count("pretrained weights are missing: 1 file, about 21 MiB. Download now? [Y/n]") == 1
    assert bool(hub.requests) == (status == 0)
    assert (tmp_path / "results" / "run").exists() == (status == 0)


def read_all(terminal: int) -> str:
    """What a process writes to its terminal until it ends."""
    text = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's end of a terminal
            return text.decode(errors="replace")
        text += part


@pytest.mark.slow  # 10 s
def test_a_file_that_the_hub_lacks_is_a_problem_with_its_name(tmp_path: Path) -> None:
    with running_hub({}) as hub:
        done = preflight(tmp_path, "--download", HF_ENDPOINT=hub.url)
    assert done.returncode == 2
    assert f"weights: {TIMM_FILE} cannot be downloaded: " in done.stderr
    assert [request for request in hub.requests if request.startswith("HEAD")] == [
        f"HEAD {HUB_PATH}model.safetensors",
        f"HEAD {HUB_PATH}pytorch_model.bin",
    ]


def test_a_file_by_url_lands_in_the_cache_of_torch_hub_and_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(3)}, buffer)
    content = buffer.getvalue()
    name = f"/models/net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    with running_hub({name: content, "/models/net-0123abcd.pth": content}) as hub:
        file = WeightFile(source="url", location=hub.url + name)
        assert locate(file) is None
        assert fetch(file).read_bytes() == content
        assert fetch(file) == locate(file) == Path(torch.hub.get_dir()) / "checkpoints" / Path(name).name
        assert hub.requests == [f"GET {name}"]
        changed = WeightFile(source="url", location=f"{hub.url}/models/net-0123abcd.pth")
        with pytest.raises(WeightsError, match="invalid hash value"):
            fetch(changed)
        assert locate(changed) is None
