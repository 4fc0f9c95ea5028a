"""Pretrained weights: found without a network, read from a file, and never another model's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tests.support import weight_files
from tests.support.weight_files import TIMM, TORCHVISION
from trainables.core.checkpoint import save_checkpoint
from trainables.core.contract import WeightFile, WeightsError
from trainables.core.weights import damage, locate, required
from trainables.engine.classifiers import models
from trainables.engine.classifiers.models import build_classifier
from trainables.engine.classifiers.small_networks import ResNet20

ROOT = Path(__file__).parents[2]

# Any connection raises, so that nothing can come from elsewhere than the caches.
LOADING = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from trainables.engine.classifiers.models import build_classifier
for name in sys.argv[1:]:
    built = build_classifier(name, num_classes=3, in_channels=3, resolution=32, weights="hub")
    print(sum(float(p.detach().double().sum()) for p in built.model.parameters() if p.ndim == 4))
"""


def loaded(*models: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TORCH_"))}
    return subprocess.run(
        [sys.executable, "-c", LOADING, *models],
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow  # 8 s
def test_models_of_both_libraries_load_without_a_network_from_caches_that_were_moved(tmp_path):
    models = [
        weight_files.fill_hub_cache(tmp_path / "hf"),
        weight_files.fill_torch_cache(tmp_path / "torch"),
    ]
    moved = {"HF_HOME": str(tmp_path / "hf"), "TORCH_HOME": str(tmp_path / "torch")}
    done = loaded(TIMM, TORCHVISION, HOME=str(tmp_path / "no-cache"), **moved)
    assert done.returncode == 0, done.stderr
    convolutions = [
        sum(float(p.detach().double().sum()) for p in model.parameters() if p.ndim == 4) for model in models
    ]
    assert list(map(float, done.stdout.split())) == pytest.approx(convolutions, abs=1e-9)


@pytest.mark.slow  # 7 s
def test_a_missing_file_fails_at_once_with_its_name_its_folder_and_the_command(tmp_path):
    done = loaded(TIMM, HF_HOME=str(tmp_path), SUDO_USER="ada")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "trainables.core.contract.WeightsError: timm/resnet10t.c3_in1k/model.safetensors is not in "
        f"{tmp_path}/hub; fetch it: jouletune preflight --space SPACE --download (or set HF_HOME "
        "and TORCH_HOME to the caches of ada: sudo looks in root's)"
    )


def saved(model: torch.nn.Module, path: Path) -> str:
    torch.save({"epochs_done": 3, "model": model.state_dict()}, path)
    return f"file:{path}"


@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_checkpoint_of_the_model_gives_all_but_the_head(tmp_path, in_channels):
    sources = {
        TIMM: weight_files.timm_model(),
        TORCHVISION: weight_files.torchvision_model(),
        "resnet20": ResNet20(num_classes=5),
    }
    for number, (name, source) in enumerate(sources.items()):
        weights = saved(source, tmp_path / f"{number}.pt")
        built = build_classifier(name, num_classes=7, in_channels=in_channels, resolution=32, weights=weights)
        ours = [p.detach() for p in built.model.parameters() if p.ndim == 4]
        theirs = [p.detach() for p in source.parameters() if p.ndim == 4]
        assert torch.allclose(ours[0], theirs[0] if in_channels == 3 else theirs[0].sum(1, keepdim=True))
        assert all(torch.equal(own, other) for own, other in zip(ours[1:], theirs[1:], strict=True))
        assert [p.shape[0] for p in built.head.parameters()] == [7, 7]


@pytest.mark.parametrize("name", [TIMM, TORCHVISION, "vit_tiny_patch16_224"])
def test_a_file_of_another_model_is_refused(tmp_path, name, caplog):
    weights = saved(ResNet20(num_classes=5), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other.pt cannot be read as weights of .*: it holds 0 of"):
        build_classifier(name, num_classes=2, in_channels=3, resolution=32, weights=weights)
    assert not caplog.records  # timm would name each of its keys


def test_a_state_that_this_program_saved_gives_its_weights_only_if_it_is_whole(tmp_path):
    source, path = weight_files.timm_model(), tmp_path / "final.pt"
    save_checkpoint(path, {"epochs_done": 3, "model": source.state_dict()}, {"trial": "trial-0000"})
    about = {"num_classes": 2, "in_channels": 3, "resolution": 32, "weights": f"file:{path}"}
    built = build_classifier(TIMM, **about)
    assert torch.equal(next(built.model.parameters()), next(source.parameters()))
    assert damage(path) is None
    content = bytearray(path.read_bytes())
    for at in (500, len(content) // 2, len(content) - 100):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert damage(path) == f"{path} is damaged (its content does not match its SHA-256)"
        with pytest.raises(WeightsError, match="does not match its SHA-256"):
            build_classifier(TIMM, **about)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    (tmp_path / "note.pt").write_text("not a checkpoint")
    with pytest.raises(WeightsError, match="give a file that the same model was saved to, or weights: none"):
        build_classifier(
            TIMM, num_classes=2, in_channels=3, resolution=32, weights=f"file:{tmp_path / 'note.pt'}"
        )


def test_a_file_that_is_not_there_is_named(tmp_path):
    file = WeightFile(source="file", location=str(tmp_path / "w.pt"))
    with pytest.raises(WeightsError, match=r"w.pt is not in .*; give the absolute path of a file after"):
        required(file)


def test_files_that_were_cut_short_are_found_out(tmp_path, monkeypatch):
    weight_files.fill_hub_cache(tmp_path / "hf")
    weight_files.fill_torch_cache(tmp_path / "torch")
    for path, words in (
        (next((tmp_path / "hf").rglob("*.safetensors")), "it is cut short or not a safetensors file"),
        (next((tmp_path / "torch").rglob("*.pth")), "it is cut short"),
    ):
        assert damage(path) is None
        path.write_bytes(path.read_bytes()[:-1000])
        assert words in str(damage(path))
        path.write_bytes(b"")
        assert damage(path) == "it is empty"


@pytest.mark.slow  # 3 s
def test_a_model_with_auxiliary_outputs_gets_the_weights_of_torchvision_without_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # the seconds of a random start
    name = "inception_v3"
    (file,) = models.weight_files(f"torchvision/{name}", "hub")
    published = torchvision.models.get_model(name, weights=None, init_weights=False, transform_input=True)
    path = tmp_path / "hub" / "checkpoints" / file.location.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(published.state_dict(), path)
    shape = {"num_classes": 1000, "in_channels": 3, "resolution": 96}
    built = build_classifier(f"torchvision/{name}", **shape, weights="hub")
    assert built.model.train()(torch.zeros(2, 3, 96, 96)).shape == (2, 1000)  # no tuple
    again = build_classifier(f"torchvision/{name}", **shape)  # as `predict` builds it
    again.model.load_state_dict(built.model.state_dict())
    published.fc = again.model.fc = nn.Identity()
    # Images in [-1, 1] are what `transform_input` makes of images scaled by ImageNet's statistics.
    pixels, imagenet = torch.rand(1, 3, 96, 96), torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    mean, std = imagenet[:, None, :, None, None]
    of_model = torch.tensor([built.statistics.mean, built.statistics.std])[:, None, :, None, None]
    expected = published.eval()((pixels - mean) / std)
    assert torch.allclose(again.model.eval()((pixels - of_model[0]) / of_model[1]), expected, atol=1e-4)


def test_the_cache_of_torch_hub_is_found_without_torch(tmp_path, monkeypatch):
    file = WeightFile(
        source="torchvision", location=f"https://example.invalid/{weight_files.TORCHVISION_FILE}"
    )
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert locate(file) is None
    weight_files.fill_torch_cache(tmp_path)
    assert locate(file) == Path(torch.hub.get_dir()) / "checkpoints" / weight_files.TORCHVISION_FILE
