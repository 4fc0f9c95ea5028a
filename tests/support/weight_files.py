"""Caches of weights for tests, laid out as by the libraries, with models of random weights."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

TIMM = "resnet10t"
TORCHVISION = "torchvision/mobilenet_v3_small"
TIMM_FILE = "timm/resnet10t.c3_in1k/model.safetensors"
TORCHVISION_FILE = "mobilenet_v3_small-047dcff4.pth"


def timm_model(seed: int = 7, name: str = TIMM) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name)


def torchvision_model(seed: int = 7) -> nn.Module:
    torch.manual_seed(seed)
    return torchvision.models.get_model(TORCHVISION.removeprefix("torchvision/"))


def fill_hub_cache(hf_home: Path, name: str = TIMM) -> nn.Module:
    """Put a timm model where Hugging Face's client looks, and return it."""
    model = timm_model(name=name)
    hub_id = timm.get_pretrained_cfg(name).hf_hub_id
    repository = hf_home / "hub" / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c0ffee")
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    save_file(model.state_dict(), snapshot / "model.safetensors")
    return model


def fill_torch_cache(torch_home: Path) -> nn.Module:
    """Put the torchvision model where torch.hub looks, and return it."""
    model = torchvision_model()
    path = torch_home / "hub" / "checkpoints" / TORCHVISION_FILE
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    return model
