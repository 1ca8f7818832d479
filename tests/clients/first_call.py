"""The README's first example by the generated Python client; prints the list."""

import json
import sys

from coursegraph_client import Client
from coursegraph_client.api.courses import write_courses
from coursegraph_client.api.interactions import write_interactions
from coursegraph_client.api.recommendations import get_recommendations
from coursegraph_client.api.users import get_user
from coursegraph_client.models import BatchReport, Course, Interaction, Problem, RecommendationList

client = Client(base_url=sys.argv[1])

courses = [
    Course(course_id="python", title="Python Programming", categories=["Programming"], level="beginner"),
    Course(course_id="statistics", title="Statistics", categories=["Mathematics"], level="beginner"),
    Course(course_id="ml", title="Machine Learning", categories=["Data Science"], prerequisites=["python"]),
]
interactions = [
    Interaction(user_id="ada", course_id="python", type_="complete"),
    Interaction(user_id="ada", course_id="ml"),
    Interaction(user_id="alan", course_id="python"),
    Interaction(user_id="alan", course_id="statistics"),
]

written = write_courses.sync(client=client, body=courses)
assert isinstance(written, BatchReport), written
sent = write_interactions.sync(client=client, body=interactions)
assert isinstance(sent, BatchReport), sent
listed = get_recommendations.sync("ada", client=client, n=3)
assert isinstance(listed, RecommendationList), listed
items = [[item.course_id, item.percent] for item in listed.items]
said = {"courses": written.accepted, "interactions": sent.accepted, "list": items, "source": listed.source}
print(json.dumps(said))
unknown = get_user.sync("nobody", client=client)
assert isinstance(unknown, Problem), unknown
assert unknown.type_ == "unknown_user"
