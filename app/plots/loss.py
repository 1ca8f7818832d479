"""The loss curve, and what held-out interactions said on the way."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from app.plots.drawing import FAINT, INK, Format, render
from app.plots.points import LossPoints

ACCENT = "#b5541c"


def draw_loss(points: LossPoints, format_: Format) -> bytes:
    """The picture of a training run."""
    return render(lambda: _figure(points), format_)


def _figure(points: LossPoints) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title("Training loss" + (f" and {_name(points.metric)}" if points.validation else ""), loc="left")
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Mean loss of the epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, color=FAINT, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    last = max(len(points.losses), *(epoch for epoch, _ in points.validation), 2)
    axes.set_xlim(0.5, last + 0.5)
    few = "o" if len(points.losses) <= 30 else ""
    epochs = range(1, len(points.losses) + 1)
    lines = axes.plot(epochs, points.losses, color=INK, linewidth=2, marker=few, markersize=4, label="loss")
    if not points.losses:
        axes.text(0.5, 0.5, "No epoch is over yet", transform=axes.transAxes, ha="center")
    if points.validation:
        right = axes.twinx()
        right.spines[["top", "left"]].set_visible(False)
        right.set_ylabel(f"{_name(points.metric)} on held-out interactions")
        at, values = zip(*points.validation, strict=True)
        style: dict[str, Any] = {"color": ACCENT, "linestyle": "--", "linewidth": 2, "marker": "s", "markersize": 5}
        right.set_ylim(bottom=min(*values, 0.8 * max(values)))  # so that small differences look small
        lines += right.plot(at, values, label=_name(points.metric), **style)
    if points.losses:
        axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    return figure


def _name(metric: str) -> str:
    return metric.replace("ndcg", "NDCG").replace("recall", "Recall")
