"""The bipartite graph: users as squares on the left, courses as circles on the right."""

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from app.plots.drawing import CHOSEN, COURSE, INK, LINE, USER, Format, render
from app.plots.layout import rows_of, shortened, title_of
from app.plots.points import GraphPoints

ROW_INCHES = 0.34  # of a square or circle with its label
LABEL_CHARACTERS = 34
PALE = "#bcc6cf"  # of lines behind those of the focus
MARKER = 190  # square points, the unit of matplotlib


def draw_graph(points: GraphPoints, format_: Format) -> bytes:
    """The picture of a graph or a neighbourhood."""
    return render(lambda: _figure(points), format_)


def _figure(points: GraphPoints) -> Figure:
    rows = max(len(points.users), len(points.courses), 6)
    figure = Figure(figsize=(8.0, 1.1 + ROW_INCHES * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(shortened(title_of(points), 76), loc="left")
    axes.set_xlim(-0.35, 1.75)
    axes.set_ylim(1.0, 0.0)
    if points.users or points.courses:
        _draw(axes, points)
    else:
        axes.text(0.7, 0.5, "No users and no courses yet", ha="center", va="center")
    return figure


def _draw(axes: Axes, points: GraphPoints) -> None:
    graph = nx.Graph()
    users, courses = rows_of(points)
    places = {("user", id_): (0.0, y) for id_, y in users.items()}
    places |= {("course", id_): (1.0, y) for id_, y in courses.items()}
    graph.add_nodes_from(places)
    edges = {
        kind: [(("user", edge.user_id), ("course", edge.course_id)) for edge in points.edges if edge.kind == kind]
        for kind in ("taken", "recommended")
    }
    focus = (points.scope, points.focus)
    near = [edge for edge in edges["taken"] if focus in edge]
    far = [edge for edge in edges["taken"] if focus not in edge]
    nx.draw_networkx_edges(graph, places, far, ax=axes, edge_color=PALE if near else LINE, width=1.0)
    nx.draw_networkx_edges(graph, places, near, ax=axes, edge_color=INK, width=1.6)
    nx.draw_networkx_edges(graph, places, edges["recommended"], ax=axes, edge_color=INK, width=1.6, style=(0, (4, 3)))
    recommended = {("course", course.course_id) for course in points.courses if course.rank is not None}
    for nodes, shape, colour in (
        ([node for node in places if node[0] == "user"], "s", USER),
        ([node for node in places if node[0] == "course" and node not in recommended], "o", COURSE),
        (sorted(recommended), "o", CHOSEN),
    ):
        widths = [2.6 if node == focus else 1.0 for node in nodes]
        nx.draw_networkx_nodes(
            graph, places, nodes, node_size=MARKER, node_shape=shape, node_color=colour, edgecolors=INK,
            linewidths=widths, ax=axes,
        )  # fmt: skip
    axes.set_axis_off()
    for user in points.users:
        axes.text(-0.05, users[user.user_id], shortened(user.user_id, 18), ha="right", va="center")
    for course in points.courses:
        share = "" if course.percent is None else f"  {course.percent:.0f} %"
        label = shortened(course.label, LABEL_CHARACTERS) + share
        axes.text(1.05, courses[course.course_id], label, ha="left", va="center")
    axes.legend(handles=_legend(points), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, frameon=False)


def _legend(points: GraphPoints) -> list[Line2D]:
    def marker(shape: str, colour: str, label: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=shape, markersize=10, markerfacecolor=colour, markeredgecolor=INK, label=label
        )

    handles = [marker("s", USER, "user"), marker("o", COURSE, "course"), Line2D([], [], color=LINE, label="taken")]
    if any(course.rank is not None for course in points.courses):
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 3)), label="recommended"))
    return handles
