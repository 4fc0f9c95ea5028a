"""Images of a test set as numbered PNGs, for people to look at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

from PIL import Image

Picture = Callable[[int, int], Image.Image | None]
_log = logging.getLogger(__name__)


def numbered_pngs(
    picture: Picture | None,
    places: Sequence[int],
    longest_px: int,
    draw: Callable[[int, Image.Image], Image.Image] = lambda _, image: image,
) -> Mapping[str, bytes]:
    """Return the images as PNGs, named 01, 02 and so on in the order of `places`.

    If one cannot be shown there are none, as a table has a row for each in the same order.

    Args:
        picture: Returns an image of the set by its number from 0, its longer side at most the given pixels,
            or None if it cannot be shown. None if the set has no images.
        draw: Changes an image before it is written; it gets the image's place in `places` too.
    """
    if picture is None:
        return {}
    try:
        found = [picture(place, longest_px) for place in places]
    except OSError as error:  # a file that was there when the training began
        _log.warning("no images of mistakes: %s", error)
        return {}
    shown = [image for image in found if image is not None]
    if len(shown) < len(found):
        return {}
    return {f"{number + 1:02}": _png(draw(number, image)) for number, image in enumerate(shown)}


def _png(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
