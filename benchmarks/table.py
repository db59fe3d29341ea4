"""Markdown tables, medians and spreads."""

from __future__ import annotations

from statistics import median


def table(*headers: str, rows: list[tuple]) -> None:
    """Print a table; the first column is text, the others numbers."""
    print("| " + " | ".join(headers) + " |")
    print("|---" + "|--:" * (len(headers) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def spread(values: list[float], form: str = ".0f") -> str:
    """Return the median, and the least and most where there are several."""
    if not values:
        return "-"
    middle = format(median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{form}} … {max(values):{form}})"


def ratios(values: list[float], floors: list[float]) -> list[float]:
    """Divide each by the floor of the same round: what slows one slows both."""
    return [
        value / floor for value, floor in zip(values, floors, strict=False) if floor
    ]


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"
