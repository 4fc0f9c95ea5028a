"""The contents of a data source, as checked before a run: plain data that the search prints and keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Items of a source that are not used.

    Attributes:
        reason: A noun in the singular, such as "dead link" or "empty class".
        count: Number of items left out.
        names: Names of the first few, or of all.
    """

    reason: str
    count: int
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = ", ".join((*self.names[:_NAMED], *(["..."] if self.count > _NAMED else [])))
        return f"left out, {self.reason}: {self.count}" + (f" ({named})" if self.names else "")


@dataclass(frozen=True, kw_only=True)
class DataSummary(Sequence[str]):
    """The contents of a data source. As a sequence, it is the lines that describe them.

    `Trainable.check_data` may return one in place of a plain list of notes: code that prints notes prints
    its lines, and the search also keeps it as data, for the report. A reader fills in what it knows and
    leaves the rest empty; an empty attribute has no line.

    Attributes:
        num_examples: Examples that are used, over all parts.
        unit: What an example is, in the plural.
        classes: Number of examples of each class; in detection, of objects.
        class_unit: What `classes` counts, if not examples: "objects".
        parts: Number of examples in "train", "val" and "test", as trials will see them.
        split_off: The parts that the program splits off the training part.
        sizes_px: Width and height of the smallest, the median and the largest image, by area.
        num_sized: Number of images measured for `sizes_px`, if not all.
        left_out: Items that are not used, by reason.
        notes: Anything else worth knowing, a sentence each, such as how 16-bit images are treated.
    """

    num_examples: int
    unit: str = "images"
    classes: Mapping[str, int] = field(default_factory=dict)
    class_unit: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)
    split_off: tuple[str, ...] = ()
    sizes_px: tuple[tuple[int, int], ...] = ()
    num_sized: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DataSummary:
        """Restore a summary from `to_dict`, also if JSON has made lists of its tuples."""
        left_out = tuple(LeftOut(**{**one, "names": tuple(one["names"])}) for one in content["left_out"])
        return cls(
            **{
                **content,
                "split_off": tuple(content["split_off"]),
                "sizes_px": tuple((width, height) for width, height in content["sizes_px"]),
                "left_out": left_out,
                "notes": tuple(content["notes"]),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, from which `from_dict` restores the summary."""
        return asdict(self)

    @property
    def found(self) -> list[str]:
        """Counts, parts and sizes, a line each."""
        parts = [self._parts()] if self.parts else []
        return [self._counts(), *parts, *([self._sizes()] if self.sizes_px else [])]

    @property
    def warnings(self) -> list[str]:
        """What is left out and anything else worth knowing, a line each."""
        return [*map(str, self.left_out), *self.notes]

    def __len__(self) -> int:
        return len(self.found) + len(self.warnings)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return [*self.found, *self.warnings][index]

    def _counts(self) -> str:
        """The number of examples, and how balanced their classes are."""
        text = f"{self.num_examples} {self.unit}"
        if not self.classes:
            return text
        smallest, largest = (pick(self.classes, key=self.classes.__getitem__) for pick in (min, max))
        counted = f", {sum(self.classes.values())} {self.class_unit}" if self.class_unit else ""
        text = f"{text}{counted} of {len(self.classes)} classes"
        if self.classes[smallest] == self.classes[largest]:
            return f"{text}, {self.classes[smallest]} of each"
        return f"{text}: {self.classes[smallest]} ({smallest}) to {self.classes[largest]} ({largest})"

    def _parts(self) -> str:
        """The size of each part, and which of them the program splits off."""
        sizes = ", ".join(f"{count} {part}" for part, count in self.parts.items())
        return sizes + (f"; {' and '.join(self.split_off)} split off train" if self.split_off else "")

    def _sizes(self) -> str:
        """The smallest, the median and the largest size, or the only one."""
        measured = "" if self.num_sized is None else f" ({self.num_sized} were measured)"
        sizes = [f"{width} x {height}" for width, height in self.sizes_px]
        if len(set(sizes)) == 1:
            return f"all {sizes[0]} px{measured}"
        smallest, median, largest = sizes
        return f"sizes {smallest} to {largest} px, median {median}{measured}"
