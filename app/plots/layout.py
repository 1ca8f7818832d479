"""Where squares and circles stand."""

from collections import defaultdict
from statistics import fmean
from unicodedata import east_asian_width

from app.plots.points import GraphPoints

Places = dict[str, float]


def rows_of(points: GraphPoints) -> tuple[Places, Places]:
    """Heights from 0 at the top to 1, of users and of courses, so that few lines cross.

    The focus stands first.  Recommended courses stand below the others.
    """
    users = [user.user_id for user in points.users]
    if points.scope == "user" and points.focus in users:  # in the middle of those who resemble it
        users.remove(points.focus)
        users.insert(0, points.focus)
    height = {user_id: place for place, user_id in enumerate(users)}
    takers: dict[str, list[int]] = defaultdict(list)
    for edge in points.edges:
        if edge.user_id in height:
            takers[edge.course_id].append(height[edge.user_id])

    def key(place: int) -> tuple[bool, bool, float, int]:
        course = points.courses[place]
        mean = fmean(takers[course.course_id]) if takers[course.course_id] else len(users)
        first = points.scope == "course" and course.course_id == points.focus
        return course.rank is not None, not first, course.rank or mean, place

    courses = [points.courses[place].course_id for place in sorted(range(len(points.courses)), key=key)]
    return _spread(users), _spread(courses)


def _spread(ids: list[str]) -> Places:
    return {id_: (place + 0.5) / len(ids) for place, id_ in enumerate(ids)}


def title_of(points: GraphPoints) -> str:
    """What the picture is called."""
    if points.scope == "all":
        return "Users and the courses they took"
    of = "all" if points.hidden == 0 else "part of"
    whole = f"{points.n_users:,} users and {points.n_courses:,} courses"
    return f"{points.scope.capitalize()} {points.focus} and {of} the neighbourhood (of {whole})"


def shortened(text: str, length: int) -> str:
    """The text, or its beginning: ``length`` narrow characters or half as many wide ones.

    What is not printable, which XML may not hold, is a space.
    """
    text = "".join(char if char.isprintable() else " " for char in text)
    width = 0
    for place, char in enumerate(text):
        width += 2 if east_asian_width(char) in "WF" else 1
        if width > length:
            return text[:place].rstrip() + "…"
    return text
