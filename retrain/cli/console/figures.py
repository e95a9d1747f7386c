"""Figures in words, as several commands tell them."""

from retrain.evaluation import AnyMetrics
from retrain.text import counted

__all__ = ["interval_text", "main_line", "pictures_text"]


def interval_text(interval: tuple[float, float], form: str = ".1%") -> str:
    """The ends of a 95% interval."""
    low, high = interval
    return f"95% interval {low:{form}} to {high:{form}}"


def main_line(what: str, value: float, interval: tuple[float, float], metrics: AnyMetrics) -> str:
    """The figure that a model is judged by, of how many pictures, and its loss.

    Args:
        what: the figure's name.
    """
    copies = f" different pictures; {counted(metrics.copies, 'copy')} not counted" if metrics.copies else ""
    return (
        f"{what} {value:.1%} ({interval_text(interval)}, N={metrics.n}{copies}), "
        f"cross-entropy {metrics.cross_entropy:.3f}"
    )


def pictures_text(count: int, different: int) -> str:
    """How many pictures there are, and how many without copies."""
    return counted(count, "picture") + ("" if count == different else f" ({different:,} different)")
