"""How a change of the metric is written: in points, hundredths of it, with its sign."""


def change_in_points(before: float, after: float) -> float:
    """Return how many points `after` is above `before`, to three digits; never minus zero, which reads as a loss."""
    return round(100 * (after - before), 3) + 0.0


def signed(points: float) -> str:
    """Return `+0.27`, `−0.40` or `0.00`: a real minus sign, and none where nothing is left after rounding."""
    text = f"{abs(points):.2f}"
    if text == "0.00":
        return text
    return ("+" if points > 0 else "−") + text
