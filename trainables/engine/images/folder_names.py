"""Names that mean the same in every folder of data: the parts of a split, and what is never data.

Every reader of folders (class folders, COCO, VOC) uses these functions, so that all follow one rule, which
docs/own-images.md states.
"""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
PART_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_PART_BY_NAME: dict[str, Part] = {name: part for part, names in PART_NAMES.items() for name in names}
_NAME = re.compile(
    rf"(?P<part>{'|'.join(sorted(_PART_BY_NAME, key=len, reverse=True))})"
    r"([-_. ]?(set|split|data|images|imgs))?"  # training_set, TestSet, val-images
    r"([-_. ]?(19|20)\d\d)?"  # train2017
)
_WORD = re.compile(rf"(?<![^\W\d_])({'|'.join(_PART_BY_NAME)})(?![^\W\d_])")
# Left by file managers, archives, file systems, NAS and Python, in addition to hidden files. In lower case.
_NEVER_DATA = {
    "__macosx",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "thumbs.db:encryptable",
    "desktop.ini",
    "icon\r",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "@eadir",
    "@recycle",
    "#recycle",
    "#snapshot",
}


def part_of(name: str) -> Part | None:
    """The part of a split that a folder or a list of this name holds; None if it names none.

    Case is ignored, and set, split, data, images or a year may follow: "Training", "test_set", "train2017".
    `trainval` is training data, so a reader that finds `train` beside it must choose one of them.
    """
    match = _NAME.fullmatch(name.strip().lower())
    return _PART_BY_NAME[match["part"]] if match else None


def part_in(name: str) -> Part | None:
    """The part that a longer name mentions as a word, such as "instances_val2017"; None if it has none.

    The first one counts ("image_info_test-dev2017" is the test part's); train and val together are training
    data, as in "train_val2014".
    """
    if part := part_of(name):
        return part
    mentioned = [part for word in re.split(r"[^a-z]+", name.lower()) if (part := part_of(word))]
    if {"train", "val"} <= set(mentioned):
        return "train"
    return mentioned[0] if mentioned else None


def part_and_rest(name: str) -> tuple[Part, str] | None:
    """The one part that a longer name mentions, and the name without it: train and "seg_" for "seg_train".

    Folders whose names have the same rest are parts of one data set.
    """
    before, *found = _WORD.split(name.lower())
    return (_PART_BY_NAME[found[0]], before + found[1]) if len(found) == 2 else None


def is_never_data(name: str) -> bool:
    """Whether a file or folder of this name is hidden or left behind by a system, whatever it holds.

    Do not apply it to the data's own folder and those above it.
    """
    return name.startswith(".") or name.lower() in _NEVER_DATA
