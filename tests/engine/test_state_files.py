"""The state dict of a model is found wherever a file has it, and nothing in the file is executed."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from argparse import Namespace
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.engine.state_files import largest_state, state_for

OWN = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).state_dict()


def filled(value: float, prefix: str = "") -> dict[str, Tensor]:
    return {f"{prefix}{name}": torch.full_like(tensor, value) for name, tensor in OWN.items()}


def found(path: Path, content: Any, **options: Any) -> float:
    """The value that fills the state found in a file of this content."""
    torch.save(content, path / "a.pth", **options)
    state = state_for(path / "a.pth", OWN)
    assert state.num_fitting == len(OWN)
    return float(state.tensors["3.weight"][0, 0])


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state_dict", "net", "ema", "params", "weights"]
)
def test_it_may_be_under_any_key(tmp_path: Path, key: str) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": []}
    assert found(tmp_path, {"epoch": 3, "optimizer": optimizer, key: filled(2)}) == 2
    assert found(tmp_path, {"trainer": {"inner": {key: filled(2)}}}) == 2


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone.", "net.encoder."]
)
def test_it_may_be_behind_any_prefix(tmp_path: Path, prefix: str) -> None:
    others = {"fc.weight": torch.ones(2), "criterion.weight": torch.ones(3)}
    assert found(tmp_path, {"state_dict": {**filled(2, prefix), **others}}) == 2
    assert state_for(tmp_path / "a.pth", OWN).prefix == prefix


@pytest.mark.parametrize(
    ("content", "place", "other"),
    [
        ({"state_dict": filled(1), "state_dict_ema": filled(2)}, "state_dict_ema", "state_dict"),
        ({"student": filled(1), "teacher": filled(2, "backbone.")}, "teacher.backbone", "student"),
        ({"module.encoder_q.": filled(2), "queue": torch.ones(3)}, "module.encoder_q", ""),
        ({**filled(2, "encoder_q."), **filled(1, "encoder_k.")}, "encoder_q", "encoder_k"),
        ({**filled(1, "model."), **filled(2, "ema_model.module.")}, "ema_model.module", "model"),
    ],
)
def test_averaged_weights_are_taken_then_the_first_and_it_is_said(
    tmp_path: Path, content: Any, place: str, other: str
) -> None:
    assert found(tmp_path, content) == 2
    state = state_for(tmp_path / "a.pth", OWN)
    assert state.place == place
    if other:
        assert state.notes() == {
            "weights": f"the file has this model 2 times: {place} was taken, not {other}"
        }


class Dangerous:
    """Creates a file if it is unpickled as Python does it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


class Config(dict[str, Any]):
    pass


@pytest.mark.parametrize(
    "extra",
    [
        np.float64(0.9),
        np.arange(3),
        Namespace(lr=0.1),
        Config(lr=0.1, inner=Config(a=[1])),
        defaultdict(list, {"a": [1]}),
        deque([1, 2]),
        pathlib.PurePosixPath("/data"),
        functools.partial(print, 1),
    ],
    ids=lambda extra: type(extra).__name__,
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_objects_beside_it_are_left_alone(tmp_path: Path, extra: Any, protocol: int) -> None:
    content = {"args": extra, "state_dict": filled(2), "last": extra}
    assert found(tmp_path, content, pickle_protocol=protocol) == 2


@pytest.mark.parametrize("is_zip", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, is_zip: bool) -> None:
    content = {
        "before": Dangerous(tmp_path / "made"),
        "model": filled(2),
        "after": Dangerous(tmp_path / "made"),
    }
    assert found(tmp_path, content, _use_new_zipfile_serialization=is_zip) == 2
    assert not (tmp_path / "made").exists()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
        self.inner.load_state_dict(filled(2))


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_pickled_module_gives_its_tensors_without_being_imported(tmp_path: Path, is_wrapped: bool) -> None:
    assert found(tmp_path, {"epoch": 1, "ema": Net()} if is_wrapped else Net()) == 2
    assert state_for(tmp_path / "a.pth", OWN).prefix == "inner."


def test_an_index_stands_for_its_shards(tmp_path: Path) -> None:
    names = list(OWN)
    parts = {"a.safetensors": names[:3], "b.safetensors": names[3:]}
    for file, inside in parts.items():
        save_file({name: filled(2)[name] for name in inside}, tmp_path / file)
    index = {"weight_map": {name: file for file, inside in parts.items() for name in inside}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert largest_state(tmp_path / "model.safetensors.index.json").keys() == OWN.keys()


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), {"epoch": 3}, "text"])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match="it holds no tensors with names"):
        found(tmp_path, content)


def test_a_file_of_numpys_or_an_index_that_holds_no_tensors_says_why(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", kernel=np.zeros(3, "V2"))  # bfloat16, as JAX saves it
    np.savez(tmp_path / "b.npz", kernel=np.arange(3.0))
    content = (tmp_path / "b.npz").read_bytes()
    changed = content.replace(np.arange(3.0).tobytes(), np.arange(1.0, 4.0).tobytes())
    (tmp_path / "b.npz").write_bytes(changed)
    (tmp_path / "c.safetensors.index.json").write_text('[{"weight_map": {}}]')
    for name, reason in (
        ("a.npz", "it has arrays without a type of torch's .*: save float32"),
        ("b.npz", "it is damaged .Bad CRC-32 for file"),
        ("c.safetensors.index.json", "it has no weight_map, which names a file for each tensor"),
    ):
        with pytest.raises(ValueError, match=reason):
            state_for(tmp_path / name, OWN)
