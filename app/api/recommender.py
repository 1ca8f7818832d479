"""What is asked of serving: from the model in memory, and from the database before there is one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from app.api.live import Live
from app.api.outage import unless_gone
from app.api.scans import Scans
from app.api.takers import Takers
from app.serving.catalogue import Catalogue
from app.serving.content import NO_PROFILE, Profile
from app.serving.explain import Explanation
from app.serving.lists import COMPLETE, rank_latest, rank_popular
from app.serving.live import LiveModel
from app.serving.neighbours import Neighbours, SimilarCourse, SimilarUser, UserForCourse, similar_by_labels
from app.serving.options import Options, RankedList, Reason
from app.serving.users import UserVector
from app.store.interactions import InteractionStore
from app.store.users import UserStore

BLOCK_USERS = 50  # of a batch, answered before other requests get their turn: a few milliseconds
LOOKED_UP = 10_000  # users looked for in the database at once


Reasons = Explanation | Sequence[Sequence[Reason]]
Result = TypeVar("Result")


class Answer(NamedTuple):
    """A list, bytes that differ when the user has taken something else, and why each course is in it, if asked."""

    ranked: RankedList
    taken: bytes = b""
    reasons: Reasons | None = None


@dataclass(frozen=True, slots=True)
class Nearest:
    """Courses like one, by the model of this id or, if None, by labels before there is one."""

    model_id: str | None
    source: Literal["model", "content"]
    courses: Sequence[SimilarCourse]


class Recommender:
    """Answers questions.  Every method may raise UnavailableError while the process starts."""

    def __init__(self, live: Live, interactions: InteractionStore, users: UserStore, takers: Takers) -> None:
        """takers: who makes popular before there is a model."""
        self._live, self._interactions, self._users = live, interactions, users
        self._takers = takers
        self._scans = Scans()

    # --- lists of courses

    async def recommend(self, user_id: str, options: Options, *, explain: bool = False) -> Answer:
        """A list for a user; from memory as soon as there is a model, but for profiles of those not met by it."""
        now = self.recommend_now(user_id, options, explain=explain)
        if now is not None:
            return now
        current = self._live.current()
        model = current.model
        if model is None:
            return await self._recommend_yet(current.catalogue, user_id, options, explain=explain)
        if model.index.is_partial:
            await self.meet(model, [user_id])
            if (user := model.users.get(user_id)) is not None:
                return _by_vector(model, user, user_id, options, explain=explain)
        profile = await self._live.profiles.get(user_id)
        await self.meet(model, [user_id])  # once more, if she was parted from meanwhile
        if profile is not None:
            return _by_profile(model, user_id, profile, options, explain=explain)
        ranked = model.popular(options, user_id)
        return Answer(ranked, _taken(model, user_id), _reasons(model, user_id, ranked) if explain else None)

    def recommend_now(self, user_id: str, options: Options, *, explain: bool = False) -> Answer | None:
        """The same for a user with a vector; None for others, for whom the database may have to be asked."""
        model = self._live.model
        user = None if model is None else model.users.get(user_id)
        if model is None or user is None:
            return None
        return _by_vector(model, user, user_id, options, explain=explain)

    async def recommend_to(
        self, course_ids: Collection[str], profile: Profile, options: Options, *, explain: bool = False
    ) -> Answer:
        """A list for somebody who took these courses and says this of herself."""
        current = self._live.current()
        model = current.model
        if model is None:
            counts = await self._there(self._takers.counts())
            ranked = rank_popular(current.catalogue, counts, course_ids, options, course_ids)
            return Answer(ranked, reasons=[[] for _ in ranked.items] if explain else None)
        ranked = model.recommend_to(course_ids, profile, options)
        reasons = model.explain_to(course_ids, profile, _ids(ranked)) if explain else None
        return Answer(ranked, reasons=reasons)

    async def recommend_many(
        self, user_ids: Sequence[str], options: Options, *, explain: bool = False
    ) -> AsyncIterator[list[Answer]]:
        """The lists of many users in order, some at a time, all of them by the model that is served at the start."""
        current = self._live.current()
        model, catalogue = current.model, current.catalogue
        for start in range(0, len(user_ids), BLOCK_USERS):
            block = user_ids[start : start + BLOCK_USERS]
            if model is None:
                yield [await self._recommend_yet(catalogue, user_id, options, explain=explain) for user_id in block]
                continue
            await self.meet(model, block)
            answers = [
                Answer(ranked, reasons=_reasons(model, user_id, ranked) if explain else None)
                for user_id, ranked in zip(block, model.recommend_many(block, options), strict=True)
            ]
            strangers = [id_ for id_, answer in zip(block, answers, strict=True) if answer.ranked.source == "popular"]
            if strangers:
                profiles = await self._live.profiles.get_many(strangers)
                await self.meet(model, profiles)
                for place, user_id in enumerate(block):
                    if user_id in profiles:
                        answers[place] = _by_profile(model, user_id, profiles[user_id], options, explain=explain)
            yield answers
            await asyncio.sleep(0)

    async def popular(self, options: Options, user_id: str | None = None) -> Answer:
        """Most taken courses, without what this user has taken."""
        current = self._live.current()
        if current.model is not None:
            await self.meet(current.model, () if user_id is None else [user_id])
            return Answer(current.model.popular(options, user_id))
        seen = () if user_id is None else await self._there(self._interactions.seen_by(user_id))
        return Answer(rank_popular(current.catalogue, await self._there(self._takers.counts()), seen, options))

    async def latest(self, options: Options, user_id: str | None = None) -> Answer:
        """Courses that came out last, without what this user has taken."""
        seen = () if user_id is None else await self._there(self._interactions.seen_by(user_id))
        return Answer(rank_latest(self._live.current().catalogue, seen, options))

    async def _recommend_yet(self, catalogue: Catalogue, user_id: str, options: Options, *, explain: bool) -> Answer:
        """Before the first model: what is popular, without what the user has taken."""
        seen = await self._there(self._interactions.seen_by(user_id))
        completed = [course_id for course_id, types in seen.items() if COMPLETE in types]
        ranked = rank_popular(catalogue, await self._there(self._takers.counts()), seen, options, completed)
        taken = "\x1f".join(sorted(seen)).encode()
        return Answer(ranked, taken, [[] for _ in ranked.items] if explain else None)

    async def meet(self, model: LiveModel, user_ids: Collection[str]) -> None:
        """What these users have taken is known to the model when this returns, and until somebody else is awaited.

        Nothing to do for those whom the model holds.  Raises UnavailableError or one of UNAVAILABLE_ERRORS.
        """
        guests = model.guests
        while absent := guests.absent(user_ids):
            with guests.reading(absent) as reading:
                found = await self._there(self._interactions.taken_by(absent, reading.since))
                guests.meet(reading, found, user_ids)

    async def _there(self, reading: Coroutine[Any, Any, Result]) -> Result:
        """What was read.  Raises UnavailableError as soon as the database is known to be gone."""
        return await unless_gone(reading, self._live)

    # --- neighbours

    def similar_courses(self, course_id: str, n: int, categories: Collection[str] = ()) -> Nearest:
        """Nearest courses; only those in any of the categories, if there are any."""
        current = self._live.current()
        if current.model is None:
            return Nearest(None, "content", similar_by_labels(current.catalogue.alone(), course_id, n, categories))
        found = Neighbours(current.model).courses(course_id, n, categories)
        source: Literal["model", "content"] = "model" if current.model.has_vector(course_id) else "content"
        return Nearest(current.model.index.model_id, source, found)

    async def users_for(self, course_id: str, n: int) -> tuple[str | None, list[UserForCourse]]:
        """Model, and the users to whom the course ranks highest and who have not taken it."""
        model = self._live.current().model
        if model is None:
            return None, []
        return model.index.model_id, await self._scans.answer(Neighbours(model).ranked_users(course_id, n))

    async def similar_users(self, user_id: str, n: int) -> tuple[str | None, list[SimilarUser]]:
        """Model, and the nearest users."""
        model = self._live.current().model
        if model is None:
            return None, []
        await self.meet(model, [user_id])
        return model.index.model_id, await self._scans.answer(Neighbours(model).nearest_users(user_id, n))

    # --- who and what there is

    def knows_course(self, course_id: str) -> bool:
        """Whether there is such a course."""
        return course_id in self._live.current().catalogue

    async def unknown(self, user_ids: Sequence[str]) -> str | None:
        """The first who is no user."""
        async with contextlib.aclosing(self.strangers(user_ids)) as strangers:
            return await anext(strangers, None)

    async def strangers(self, user_ids: Sequence[str]) -> AsyncGenerator[str]:
        """Those who are no users; asks the database only about those whom the model does not know."""
        model = self._live.current().model
        strangers = [user_id for user_id in user_ids if model is None or not _is_known(model, user_id)]
        for start in range(0, len(strangers), LOOKED_UP):
            some = strangers[start : start + LOOKED_UP]
            existing = await self._there(self._users.existing(some))
            for user_id in some:
                if user_id not in existing:
                    yield user_id


def _is_known(model: LiveModel, user_id: str) -> bool:
    return user_id in model.index.users and not model.overlay.forgotten(user_id)


def _taken(model: LiveModel, user_id: str) -> bytes:
    taken = model.overlay.taken(user_id)
    others = "\x1f".join(sorted(taken.others)).encode() if taken.others else b""
    return taken.rows.tobytes() + others


def _by_vector(model: LiveModel, user: UserVector, user_id: str, options: Options, *, explain: bool) -> Answer:
    ranked = model.recommend_by(user, user_id, options)
    return Answer(ranked, _taken(model, user_id), _reasons(model, user_id, ranked) if explain else None)


def _by_profile(model: LiveModel, user_id: str, profile: Profile, options: Options, *, explain: bool) -> Answer:
    ranked = model.recommend_to((), profile, options, user_id)
    reasons = model.explain_to((), profile, _ids(ranked)) if explain else None
    return Answer(ranked, _taken(model, user_id), reasons)


def _reasons(model: LiveModel, user_id: str, ranked: RankedList) -> Reasons:
    explanation = None if ranked.source == "popular" else model.explanation(user_id, ranked)
    return [[] for _ in ranked.items] if explanation is None else explanation


def _ids(ranked: RankedList) -> list[str]:
    return [item.course_id for item in ranked.items]


def profile_of(interests: Mapping[str, float], features: Sequence[float] | None) -> Profile:
    """What somebody says of herself."""
    if features is None:
        return Profile(interests) if interests else NO_PROFILE
    with np.errstate(over="ignore"):
        vector = np.array(features, np.float32)
    return Profile(interests, vector if np.isfinite(vector).all() else None)
