"""Parquet, Arrow and tar files of images, as the Hugging Face hub, `datasets` and WebDataset write them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = ("red", "green", "blue")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(label: int, number: int) -> bytes:
    """A small image, different for each number, whose brightest channel is its class."""
    buffer = io.BytesIO()
    colour = [number % 99, number // 99]
    colour.insert(label % 3, 250)
    Image.new("RGB", (5, 4), tuple(colour)).save(buffer, "PNG")
    return buffer.getvalue()


def images(labels: Sequence[int]) -> list[dict[str, Any]]:
    return [{"bytes": png(max(0, label), number), "path": None} for number, label in enumerate(labels)]


def hub_table(
    labels: Sequence[int], names: Sequence[str] = NAMES, classes: str = "label", **others: Any
) -> pa.Table:
    """A table as `push_to_hub` writes it: images, classes, and the names of these beside the schema."""
    features = {
        "image": {"_type": "Image"},
        **({classes: {"names": list(names), "_type": "ClassLabel"}} if names else {}),
    }
    table = pa.table(
        {"image": pa.array(images(labels), IMAGE), classes: pa.array(labels, pa.int64()), **others}
    )
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write(path: Path, table: pa.Table, rows_per_group: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows_per_group)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    return path


def tar_file(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
