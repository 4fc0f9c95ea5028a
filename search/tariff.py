"""What a kilowatt-hour costs here, in grams of CO2 and in money; nothing is fetched or guessed.

Grams are the country's yearly average (`grid_intensities.csv`), or a better figure from the user: a contract,
solar panels, a cluster's own number. Sensors see only what devices draw, so both are multiplied by the PUE:
what the building draws for each kilowatt-hour of its machines (cooling, power supplies).
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

JOULES_PER_KWH = 3_600_000.0
_TABLE = Path(__file__).with_name("grid_intensities.csv")


@dataclass(frozen=True)
class GridIntensity:
    """The carbon intensity of a country's electricity in one year.

    Attributes:
        gco2_per_kwh: Grams of CO2 equivalents, over the life cycle of the power plants.
    """

    name: str
    year: int
    gco2_per_kwh: float


@cache
def grid_intensities() -> Mapping[str, GridIntensity]:
    """Return the grid intensities by the three-letter code of ISO 3166."""
    lines = [line for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {
        row["region"]: GridIntensity(row["name"], int(row["year"]), float(row["gco2_per_kwh"]))
        for row in csv.DictReader(lines)
    }


def nearest_region(text: str) -> str:
    """Return the end of a sentence that suggests a country for a mistyped code or name; empty if none."""
    codes = {code.casefold(): code for code in grid_intensities()}
    names = {each.name.casefold(): code for code, each in grid_intensities().items()}
    near = difflib.get_close_matches(text.casefold(), [*names, *codes], n=1)
    return f"; did you mean {({**names, **codes})[near[0]]}?" if near else ""


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """Converts joules to grams and money, and says why if either is unknown.

    Attributes:
        gco2_per_kwh: None if unknown, as is the price.
        origin: Source of the grams: "DEU 2024", "stated", or why they are unknown.
        currency: Currency of the price, as the user wrote it.
        pue: Power usage effectiveness, at least 1.
    """

    gco2_per_kwh: float | None = None
    origin: str = "search.report.region is not set"
    price_per_kwh: float | None = None
    currency: str = ""
    pue: float = 1.0

    @property
    def co2e_basis(self) -> str:
        """The basis of the grams, or why there are none: "344.1 g/kWh (DEU 2024), PUE 1.2"."""
        if self.gco2_per_kwh is None:
            return f"unknown: {self.origin}"
        return f"{self.gco2_per_kwh:g} g/kWh ({self.origin}){self._pue_text}"

    @property
    def cost_basis(self) -> str:
        """The basis of the cost, or why there is none: "0.3 EUR/kWh, PUE 1.2"."""
        if self.price_per_kwh is None:
            return "unknown: search.report.price_per_kwh is not set"
        return f"{self.price_per_kwh:g} {self.currency}/kWh{self._pue_text}"

    @property
    def _pue_text(self) -> str:
        return "" if self.pue == 1 else f", PUE {self.pue:g}"

    @property
    def g_per_kwh(self) -> float | None:
        """Grams per kilowatt-hour that sensors see."""
        return None if self.gco2_per_kwh is None else self.gco2_per_kwh * self.pue

    @property
    def cost_per_kwh(self) -> float | None:
        """Cost per kilowatt-hour that sensors see."""
        return None if self.price_per_kwh is None else self.price_per_kwh * self.pue

    def co2e_g(self, joules: float | None) -> float | None:
        return _of(joules, self.g_per_kwh)

    def cost(self, joules: float | None) -> float | None:
        return _of(joules, self.cost_per_kwh)

    @property
    def basis(self) -> str:
        """The basis of both, as one line."""
        parts = f"grams: {self.co2e_basis}; cost: {self.cost_basis}"
        return parts.replace("unknown: ", "unknown, as ")

    def text(self, joules: float | None) -> str:
        """Return grams and cost, such as "47.1 g CO2e, 0.0137 EUR"; empty if neither is known."""
        grams, money = self.co2e_g(joules), self.cost(joules)
        parts = ["" if grams is None else grams_text(grams)]
        parts.append("" if money is None else f"{money:.4g} {self.currency}")
        return ", ".join(filter(None, parts))


def grams_text(grams: float) -> str:
    """Return grams as "47.1 g CO2e" or, from a kilogram on, "1.23 kg CO2e"."""
    return f"{grams:.3g} g CO2e" if grams < 1000 else f"{grams / 1000:.3g} kg CO2e"


def _of(joules: float | None, per_kwh: float | None) -> float | None:
    return None if joules is None or per_kwh is None else joules / JOULES_PER_KWH * per_kwh
