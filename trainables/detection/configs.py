"""transformers' configurations of the detectors that have a name here."""

from __future__ import annotations

from typing import Any

from transformers import (
    DetrConfig,
    DFineConfig,
    HGNetV2Config,
    ResNetConfig,
    RTDetrConfig,
    RTDetrResNetConfig,
)


def config_of(name: str) -> Any:
    """Return the configuration of a model in `names.REPOSITORIES` or `names.TINY`, with auxiliary losses.

    The tiny ones are ours, with 0.3 to 0.6 M parameters, and learn 64-px images on a CPU. The others are
    published: Carion et al. 2020, Zhao et al. 2024, Peng et al. 2024.
    """
    return _BUILT[name]()


def _rt_detr(backbone: RTDetrResNetConfig, **changes: Any) -> RTDetrConfig:
    """RT-DETR on the last three stages of a backbone."""
    sizes = backbone.hidden_sizes[1:]
    return RTDetrConfig(backbone_config=backbone, encoder_in_channels=sizes, **changes)


def _resnet(**sizes: Any) -> RTDetrResNetConfig:
    """RT-DETR's variant of ResNet, which returns the maps of its last three stages."""
    stages: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    return RTDetrResNetConfig(**stages, **sizes)


def _rt_detr_r18() -> RTDetrConfig:
    """The published small model: half the hidden width and 3 of 6 decoder layers."""
    backbone = _resnet(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")
    return _rt_detr(backbone, hidden_expansion=0.5, decoder_layers=3)


def _rt_detr_r101() -> RTDetrConfig:
    """The published large model, with a wider encoder."""
    backbone = _resnet(depths=[3, 4, 23, 3])
    return _rt_detr(
        backbone, encoder_hidden_dim=384, encoder_ffn_dim=2048, decoder_in_channels=[384, 384, 384]
    )


_TINY_DECODER: dict[str, Any] = {
    "d_model": 64,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "decoder_layers": 2,
    "num_queries": 20,  # at 32 px there are 21 locations to choose from
}
_TINY_PYRAMID: dict[str, Any] = {
    **_TINY_DECODER,
    "encoder_hidden_dim": 64,
    "decoder_in_channels": [64, 64, 64],
    "hidden_expansion": 0.5,
    "num_denoising": 20,
}


_TINY_RESNET: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [16, 32, 48, 64],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}


def _rt_detr_tiny() -> RTDetrConfig:
    return _rt_detr(_resnet(**_TINY_RESNET), **_TINY_PYRAMID)


_TINY_HGNET: dict[str, Any] = {
    "stem_channels": [3, 8, 16],
    "stage_in_channels": [16, 32, 48, 64],
    "stage_mid_channels": [8, 16, 16, 16],
    "stage_out_channels": [32, 48, 64, 96],
    "hidden_sizes": [32, 48, 64, 96],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [2, 2, 2, 2],
    "out_features": ["stage2", "stage3", "stage4"],
}


def _d_fine_tiny() -> DFineConfig:
    """D-FINE with a third of its depth on a narrow HGNetV2."""
    backbone = HGNetV2Config(**_TINY_HGNET)
    channels = backbone.hidden_sizes[1:]
    return DFineConfig(
        backbone_config=backbone, encoder_in_channels=channels, depth_mult=0.34, **_TINY_PYRAMID
    )


def _detr_r50() -> DetrConfig:
    """The published DETR on a ResNet-50."""
    return DetrConfig(auxiliary_loss=True)


def _detr_tiny() -> DetrConfig:
    """DETR with two encoder and two decoder layers on the last stage of a narrow ResNet."""
    last: dict[str, Any] = {"out_features": ["stage4"]}
    backbone = ResNetConfig(**_TINY_RESNET, **last)
    return DetrConfig(backbone_config=backbone, auxiliary_loss=True, encoder_layers=2, **_TINY_DECODER)


_BUILT = {
    "rt_detr_tiny": _rt_detr_tiny,
    "rt_detr_r18": _rt_detr_r18,
    "rt_detr_r50": RTDetrConfig,
    "rt_detr_r101": _rt_detr_r101,
    "d_fine_tiny": _d_fine_tiny,
    "d_fine_l": DFineConfig,
    "detr_tiny": _detr_tiny,
    "detr_r50": _detr_r50,
}
