"""TensorBoard's event files, as other writers than TensorBoard's own leave them."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from trainables.command.ecosystems import MetricsSpec
from trainables.command.metric_sources import source_of
from trainables.core.contract import BadResult


def rows_of(folder: Path, tag: str = "acc") -> list[dict[str, Any]]:
    source = source_of(MetricsSpec.of({"tensorboard": {"tag": tag}}), "val_acc", folder, folder)
    return source.new(is_final=True)


def write_events(file: Path, events: Sequence[Event]) -> None:
    """Write event records, whose checksums nothing reads."""
    records = [event.SerializeToString() for event in events]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(struct.pack("<Q4x", len(each)) + each + bytes(4) for each in records))


def keras_event(time_s: float, step: int, value: float) -> Event:
    """As TensorFlow writes a scalar, and thus Keras: the bytes of a tensor."""
    event = Event(wall_time=time_s, step=step)
    written = event.summary.value.add(tag="epoch_accuracy")
    written.tensor.dtype = 1  # DT_FLOAT
    written.tensor.tensor_content = struct.pack("<f", value)
    return event


def test_scalars_of_tensorflow_are_read(tmp_path: Path) -> None:
    events = [keras_event(10.0 + step, step, (step + 1) / 4) for step in range(3)]
    write_events(tmp_path / "validation" / "events.out.tfevents.1.v2", events)
    assert [row["val_acc"] for row in rows_of(tmp_path, "epoch_accuracy")] == [0.25, 0.5, 0.75]


def test_one_tag_of_training_and_of_validation_is_refused(tmp_path: Path) -> None:
    for part, start_s in (("train", 10.0), ("validation", 10.5)):
        events = [keras_event(start_s + step, step, 0.5) for step in range(2)]
        write_events(tmp_path / "logs" / part / "events.out.tfevents.1", events)
    message = (
        "the event files of logs/train and of logs/validation have the tag epoch_accuracy, in turn: name "
        'those that count, such as file: "{checkpoint_dir}/logs/validation/*tfevents*" under tensorboard'
    )
    with pytest.raises(BadResult, match=re.escape(message)):
        rows_of(tmp_path, "epoch_accuracy")


def test_a_resumed_script_may_continue_in_another_folder(tmp_path: Path) -> None:
    for version, start in (("version_1", 0), ("version_0", 2)):
        events = [keras_event(10.0 + step, step, step / 4) for step in range(start, start + 2)]
        write_events(tmp_path / version / "events.out.tfevents.1", events)
    assert [row["val_acc"] for row in rows_of(tmp_path, "epoch_accuracy")] == [0.0, 0.25, 0.5, 0.75]


def test_an_epoch_that_is_logged_after_its_score_counts_nothing(tmp_path: Path) -> None:
    """Lightning's logger adds the scalar `epoch`, from 0, to each group of scalars, as their last."""
    with SummaryWriter(str(tmp_path)) as writer:
        for epoch in range(3):
            writer.add_scalar("acc", epoch / 4, 10 * epoch)
            writer.add_scalar("epoch", epoch, 10 * epoch)
    assert [(row.get("epoch"), row["val_acc"]) for row in rows_of(tmp_path)] == [
        (None, 0.0),
        (None, 0.25),
        (None, 0.5),
    ]


def test_what_only_has_the_name_of_an_event_file_is_left_out_and_named(tmp_path: Path) -> None:
    write_events(tmp_path / "events.out.tfevents.1", [keras_event(10.0, 0, 0.5)])
    (tmp_path / "tfevents.json").write_text('{"accuracy": 0.75, "epoch": 1}')
    (tmp_path / "old.tfevents").mkdir()
    spec = MetricsSpec.of({"tensorboard": {"tag": "epoch_accuracy"}})
    source = source_of(spec, "val_acc", tmp_path, tmp_path)
    assert [row["val_acc"] for row in source.new(is_final=True)] == [0.5]
    assert source.notes == {"unread": "not read to its end, as its records are damaged: tfevents.json"}
