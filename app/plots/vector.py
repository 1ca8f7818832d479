"""The same pictures as SVG written by hand, in a millisecond and without matplotlib: what the API draws when asked."""

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from app.plots.layout import rows_of, shortened, title_of
from app.plots.points import GraphPoints, LossPoints

INK, LINE, FAINT = "#1b2733", "#8a97a3", "#d8dee4"
USER, COURSE, CHOSEN, ACCENT = "#cfe3f7", "#2f6f4f", "#f2b24b", "#b5541c"
WIDTH, ROW, TOP, BOTTOM = 800, 32, 56, 48  # pixels
LEFT, RIGHT = 170, 470  # of the squares and of the circles
PLOT = (70.0, 56.0, 740.0, 380.0)  # left, top, right, bottom of the curve


def graph_svg(points: GraphPoints) -> bytes:
    """The picture of a graph or a neighbourhood."""
    rows = max(len(points.users), len(points.courses), 1)
    height = TOP + ROW * rows + BOTTOM
    users, courses = (
        {id_: TOP + y * ROW * rows for id_, y in places.items()} for places in rows_of(points)
    )  # pixels from the top

    def body() -> Iterator[str]:
        yield _text(20, 28, title_of(points), 'font-weight="bold" font-size="17"')
        for edge in sorted(points.edges, key=lambda edge: points.focus in {edge.user_id, edge.course_id}):
            of_focus = points.focus == (edge.user_id if points.scope == "user" else edge.course_id)
            style = f'stroke="{INK if of_focus else LINE}" stroke-width="{1.8 if of_focus else 1}"'
            dashes = ' stroke-dasharray="6 4"' if edge.kind == "recommended" else ""
            ends = f'x1="{LEFT}" y1="{users[edge.user_id]:.1f}" x2="{RIGHT}" y2="{courses[edge.course_id]:.1f}"'
            yield f"<line {ends} {style}{dashes}/>"
        for user in points.users:
            y = users[user.user_id]
            yield _square(LEFT, y, 3 if user.user_id == points.focus else 1.2)
            yield _text(LEFT - 16, y + 5, shortened(user.user_id, 20), 'text-anchor="end"')
        for course in points.courses:
            y = courses[course.course_id]
            focus = points.scope == "course" and course.course_id == points.focus
            yield _circle(RIGHT, y, COURSE if course.rank is None else CHOSEN, 3 if focus else 1.2)
            share = "" if course.percent is None else f"  {course.percent:.0f} %"
            yield _text(RIGHT + 16, y + 5, shortened(course.label, 38) + share)
        yield from _legend(height - 20, dashed=any(course.rank is not None for course in points.courses))

    return _document(WIDTH, height, title_of(points), body())


def loss_svg(points: LossPoints) -> bytes:
    """The picture of a training run."""
    title = "Training loss" + (f" and {points.metric}" if points.validation else "")
    left, top, right, bottom = PLOT

    def body() -> Iterator[str]:
        yield _text(20, 28, title, 'font-weight="bold" font-size="17"')
        yield _text((left + right) / 2, bottom + 44, "Epoch", 'text-anchor="middle"')
        yield _text(20, top - 8, "Mean loss of the epoch", 'font-size="13"')
        if not points.losses:
            yield _text((left + right) / 2, (top + bottom) / 2, "No epoch is over yet", 'text-anchor="middle"')
            return
        low, high = _range(points.losses)
        for step in range(5):
            y = bottom - step / 4 * (bottom - top)
            yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{FAINT}"/>'
            yield _text(left - 8, y + 4, f"{low + step / 4 * (high - low):.3g}", 'text-anchor="end" font-size="12"')
        epochs = range(1, len(points.losses) + 1)
        last = max(len(epochs), *(epoch for epoch, _ in points.validation), 1)  # validation may have gone on longer
        for epoch in sorted({1, (last + 1) // 2, last}):
            yield _text(_x(epoch, last), bottom + 20, str(epoch), 'text-anchor="middle" font-size="12"')
        places = [(_x(epoch, last), _y(loss, low, high)) for epoch, loss in zip(epochs, points.losses, strict=True)]
        yield _line(places, f'stroke="{INK}"')
        if points.validation:
            values = [value for _, value in points.validation]
            low, high = _range([*values, 0.8 * max(values)])  # so that small differences look small
            yield _text(
                right, top - 8, f"- - {points.metric}, {low:.3g} to {high:.3g}", 'text-anchor="end" font-size="13"'
            )
            held = [(_x(epoch, last), _y(value, low, high)) for epoch, value in points.validation]
            yield _line(held, f'stroke="{ACCENT}" stroke-dasharray="7 4"')

    return _document(WIDTH, int(bottom) + 60, title, body())


# ---


def _document(width: int, height: int, title: str, body: Iterator[str]) -> bytes:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="15" fill="{INK}"><title>{_escaped(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="white"/>'
    )
    return "\n".join([head, *body, "</svg>\n"]).encode()


def _escaped(text: str) -> str:
    return escape(shortened(text, 2 * len(text)))


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{_escaped(text)}</text>'


def _square(x: float, y: float, stroke: float) -> str:
    place = f'x="{x - 9}" y="{y - 9:.1f}" width="18" height="18"'
    return f'<rect {place} fill="{USER}" stroke="{INK}" stroke-width="{stroke}"/>'


def _circle(x: float, y: float, fill: str, stroke: float) -> str:
    return f'<circle cx="{x}" cy="{y:.1f}" r="9.5" fill="{fill}" stroke="{INK}" stroke-width="{stroke}"/>'


def _legend(y: float, *, dashed: bool) -> Iterator[str]:
    yield _square(40, y, 1.2)
    yield _text(58, y + 5, "user")
    yield _circle(130, y, COURSE, 1.2)
    yield _text(148, y + 5, "course")
    yield f'<line x1="230" y1="{y}" x2="262" y2="{y}" stroke="{INK}" stroke-width="1.8"/>'
    yield _text(272, y + 5, "taken")
    if dashed:
        yield f'<line x1="350" y1="{y}" x2="382" y2="{y}" stroke="{INK}" stroke-width="1.8" stroke-dasharray="6 4"/>'
        yield _circle(402, y, CHOSEN, 1.2)
        yield _text(420, y + 5, "recommended")


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _x(epoch: int, epochs: int) -> float:
    left, _, right, _ = PLOT
    return left + (epoch - 0.5) / epochs * (right - left)


def _y(value: float, low: float, high: float) -> float:
    _, top, _, bottom = PLOT
    return bottom - (value - low) / (high - low) * (bottom - top)


def _line(places: Sequence[tuple[float, float]], style: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke-width="2" {style}/>'
