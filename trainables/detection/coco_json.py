"""Reading COCO's JSON, and the kinds of value in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from trainables.detection.entries import Corners
from trainables.engine.findings import Findings

_LISTS = ("images", "annotations", "categories")
_WANTED = "a COCO file is one object with the lists images, annotations and categories"

Content = Mapping[str, Any]


def read_content(path: Path, findings: Findings) -> Content | None:
    """Read a file of annotations; None if it is not one, which is added to `findings` as a problem.

    It may be UTF-8, UTF-16 or UTF-32, with or without a byte order mark. If there are images, `annotations`
    may be missing; see `is_without_annotations`.
    """
    content = _parsed(path, findings)
    if content is None:
        return None
    if not isinstance(content, dict):
        kind = "a list, as files of detections are" if isinstance(content, list) else repr(content)[:40]
        findings.add_problem(f"{path} is not a COCO file of annotations: it is {kind}; {_WANTED}")
        return None
    unfit = [name for name in _LISTS if not isinstance(content.get(name), list)]
    if unfit and not is_without_annotations(content):
        has = ", ".join(list(map(str, content))[:8]) or "nothing"
        lacks = " and ".join(unfit)
        findings.add_problem(
            f"{path} is not a COCO file of annotations: it has no list of {lacks}, but {has}; {_WANTED}"
        )
        return None
    return content


def is_without_annotations(content: Content) -> bool:
    """Whether it lists only images, as COCO's own image_info_test2017.json does."""
    return bool(
        isinstance(content.get("images"), list) and content["images"] and not content.get("annotations")
    )


def _parsed(path: Path, findings: Findings) -> Any:
    try:
        return json.loads(path.read_bytes()) or {}
    except OSError as error:
        findings.add_problem(f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        findings.add_problem(f"{path} is not JSON: byte {error.start} is not UTF-8; save it as UTF-8")
    except json.JSONDecodeError as error:
        findings.add_problem(f"{path} {_bad_json_reason(error)}")
    except RecursionError:
        findings.add_problem(f"{path} is not a COCO file: it is nested too deeply")
    return None


def _bad_json_reason(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return "is empty"
    if error.msg == "Extra data" and error.doc.lstrip().startswith("{"):
        return f"has more than one JSON object, as JSON Lines; {_WANTED}"
    is_cut = not error.doc[error.pos :].strip() or error.msg.startswith("Unterminated")
    cut = ": it ends too early, as an incomplete copy does" if is_cut else ""
    return f"is not JSON{cut} ({error})"


def key_of(number: Any) -> str | None:
    """An id as text, so that 1, 1.0 and "1" are the same; None if it is not an id."""
    if isinstance(number, str):
        return number.strip() or None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number // 1:
        return None
    return str(int(number))


def number_of(key: str) -> int | str:
    """The id that a key stands for, as a number if it is one."""
    return int(key) if key.removeprefix("-").isdecimal() and str(int(key)) == key else key


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether a value is a number, and neither NaN nor infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value: Any) -> TypeGuard[float]:
    return is_finite(value) and value > 0


def is_crowd(item: Content) -> bool | None:
    """Whether `iscrowd` or `ignore` is 1; None if `iscrowd` is neither 0 nor 1.

    Tools mark with `ignore` what is neither to be found nor a mistake.
    """
    crowd = {"0": False, "1": True, "False": False, "True": True, "None": False}.get(
        str(item.get("iscrowd", 0))
    )
    return crowd if crowd is None else crowd or str(item.get("ignore")) in ("1", "True")


def box_corners(bbox: Any) -> Corners | None:
    """Convert left, top, width, height to corners; None if they are not four finite numbers."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_finite, bbox)):
        return None
    left, top, width, height = map(float, bbox)
    return left, top, left + width, top + height


def outline_corners(segmentation: Any) -> Corners | None:
    """The box around polygons or a run-length mask; None for anything else."""
    if isinstance(segmentation, dict):
        return _mask_corners(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    if not all(isinstance(polygon, list) and len(polygon) % 2 == 0 for polygon in polygons):
        return None
    numbers = [value for polygon in polygons for value in polygon]
    if not numbers or not all(map(is_finite, numbers)):
        return None
    across, down = numbers[::2], numbers[1::2]
    return float(min(across)), float(min(down)), float(max(across)), float(max(down))


def _mask_corners(mask: Content) -> Corners | None:
    # Imported here, as only files with masks need it.
    from faster_coco_eval.core.mask import frPyObjects, toBbox

    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_positive, size)):
        return None  # the library would divide by 0, which ends the process
    try:
        encoded = frPyObjects(mask, *size) if isinstance(counts, list) else mask
        return box_corners(toBbox(encoded).reshape(-1).tolist())
    except Exception:  # a C library on arbitrary input: whatever it raises, this is no mask
        return None
