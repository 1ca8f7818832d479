"""The embedding map: users and courses in the plane of their largest variance."""

from collections import Counter

from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from app.plots.drawing import CATEGORY_COLOURS, CATEGORY_MARKERS, FAINT, INK, LINE, USER, Format, render
from app.plots.layout import shortened
from app.plots.points import MapPoints

MANY = 2_000  # points above which an SVG holds them as an image, or it would have megabytes
LABELS = 28  # at most
LABEL_CHARACTERS = 26
FEW_USERS = 12  # whose names are written too
OTHER = "other"


def draw_embeddings(points: MapPoints, format_: Format) -> bytes:
    """The picture of a model's vectors."""
    return render(lambda: _figure(points), format_)


def _figure(points: MapPoints) -> Figure:
    figure = Figure(figsize=(7.6, 6.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title("Users and courses by their vectors", loc="left")
    first, second = points.explained_variance
    axes.set_xlabel(f"First principal component ({first:.0%} of the variance)")
    axes.set_ylabel(f"Second principal component ({second:.0%} of the variance)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(0.09)
    users, courses = points.users, points.courses
    if not users.ids and not courses.ids:
        axes.text(0.5, 0.5, "No users and no courses yet", transform=axes.transAxes, ha="center")
        return figure
    many = len(users.ids) + len(courses.ids) > MANY
    axes.scatter(
        users.x, users.y, s=8 if many else 36, marker="s", color=USER, edgecolors=LINE, alpha=0.6 if many else 1.0,
        linewidths=0.2 if many else 0.8, rasterized=many, zorder=1,
    )  # fmt: skip
    handles = [_handle("s", USER, f"users ({points.n_users:,})", edge=LINE)]
    handles += _draw_courses(axes, points)
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, frameon=False, fontsize=10)
    _label(figure, axes, points)
    return figure


def _draw_courses(axes: Axes, points: MapPoints) -> list[Line2D]:
    courses = points.courses
    of = [labels[0] if labels else OTHER for labels in courses.categories]
    count = Counter(name for name in of if name != OTHER)
    named = [name for name, _ in count.most_common(len(CATEGORY_COLOURS) - 1)]
    if OTHER in of or len(count) > len(named):
        named.append(OTHER)
    handles = []
    for place, name in enumerate(named):
        style = len(CATEGORY_COLOURS) - 1 if name == OTHER else place
        rows = [row for row, own in enumerate(of) if own == name or (name == OTHER and own not in named)]
        colour, marker = CATEGORY_COLOURS[style], CATEGORY_MARKERS[style]
        axes.scatter(
            [courses.x[row] for row in rows], [courses.y[row] for row in rows], s=46, marker=marker, color=colour,
            edgecolors="white", linewidths=0.6, rasterized=len(courses.ids) > MANY, zorder=2,
        )  # fmt: skip
        handles.append(_handle(marker, colour, "courses" if named == [OTHER] else shortened(name, 22)))
    return handles


def _handle(marker: str, colour: str, label: str, edge: str = "white") -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, markersize=8, markerfacecolor=colour, markeredgecolor=edge, label=label
    )


def _label(figure: Figure, axes: Axes, points: MapPoints) -> None:
    """Names where there is room: the outermost courses first, none over another."""
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call] # so that places in pixels are known
    renderer: RendererBase = figure._get_renderer()  # type: ignore[attr-defined] # there is no public way to it
    users, courses = points.users, points.courses
    wanted = [
        (x, y, shortened(title or id_, LABEL_CHARACTERS), INK)
        for id_, title, x, y in zip(courses.ids, courses.titles, courses.x, courses.y, strict=True)
    ]
    if len(users.ids) <= FEW_USERS:
        wanted += [(x, y, shortened(id_, 14), "#4a5763") for id_, x, y in zip(users.ids, users.x, users.y, strict=True)]
    wanted.sort(key=lambda one: -(one[0] ** 2 + one[1] ** 2))
    inside, taken = axes.get_window_extent(renderer), list[Bbox]()
    for x, y, text, colour in wanted[: 20 * LABELS]:
        if len(taken) == LABELS:
            break
        for shift, side in ((7, "left"), (-7, "right")):
            label: Text = axes.annotate(
                text, (x, y), xytext=(shift, 0), textcoords="offset points", ha=side, va="center", fontsize=9.5,
                color=colour, zorder=3,
            )  # fmt: skip
            box = label.get_window_extent(renderer).padded(2)
            if inside.containsx(box.x0) and inside.containsx(box.x1) and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()
