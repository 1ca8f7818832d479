"""Every error that CourseGraph raises on purpose.

::

    CourseGraphError
    ├── HttpError                   has a status and a slug; the API answers it as problem+json
    │   ├── MalformedBodyError      400 malformed_body
    │   ├── MalformedAddressError   400 malformed_address
    │   ├── KeyMissingError         401 key_missing, with WWW-Authenticate
    │   ├── KeyRefusedError         401 key_refused, with WWW-Authenticate
    │   ├── KeyScopeError           403 key_scope
    │   ├── ElsewhereError          403 elsewhere
    │   ├── NotFoundError           404
    │   │   ├── UnknownUserError        unknown_user
    │   │   ├── UnknownCourseError      unknown_course
    │   │   ├── UnknownRunError         unknown_run
    │   │   ├── UnknownModelError       unknown_model
    │   │   ├── NoModelError            no_model
    │   │   └── NoPictureError          no_picture
    │   ├── ConflictError           409
    │   │   ├── RunInProgressError      run_in_progress
    │   │   ├── RunEndedError           run_ended
    │   │   ├── QuotaError              quota_reached
    │   │   └── KeyInUseError           idempotency_key_in_use, with Retry-After
    │   ├── TooLargeError           413 too_large
    │   ├── UnsupportedMediaError   415 unsupported_media_type
    │   ├── InvalidValueError       422 invalid_value
    │   ├── BatchAbortedError       422 batch_aborted
    │   ├── KeyReusedError          422 idempotency_key_reused
    │   ├── TooManyRequestsError    429 too_many_requests, with Retry-After
    │   └── UnavailableError        503 unavailable, with Retry-After
    │       └── DatabaseGoneError
    ├── KeysNeededError             the service would be open to others than this machine
    ├── UnknownKeyError             a key to rotate or revoke is not there
    ├── SettingError                a setting has a value that it cannot have
    ├── EmbeddedDatabaseError       the embedded mongod could not be started
    ├── ListenError                 the API cannot listen where it was told to
    ├── ChildFailedError            a process that `up` or `serve` starts ends again and again
    ├── MissingExtraError           a command needs an optional part of the installation
    ├── ServiceError                a command asked a running service, and it did not do what was wanted
    ├── ImportFileError             a file given to import cannot be read as what it claims to be
    ├── BackupError                 a backup cannot be made, or is damaged, or cannot be restored here
    ├── DatasetError                a folder given to evaluate does not hold a data set
    ├── LeaseLostError              this worker's right to train and publish has passed on
    ├── ChangeHistoryLostError      the change stream no longer reaches back far enough
    ├── ArtifactError               a model's files are missing or not what the manifest says
    ├── NotReplicaSetError          the database is a standalone server
    ├── NotRouterError              the database is no sharded cluster, or is not reached through its router
    ├── ShardKeyError               a collection is divided among shards by another key than ours
    ├── SchemaVersionError          the database was written by a newer release
    └── TrainingError               a run ends as `failed`; the slug says why
        ├── NothingToLearnError         nothing_to_learn
        ├── InvalidFeaturesError        invalid_features
        ├── DivergedError               diverged
        ├── CollapsedError              collapsed
        ├── RankLostError               rank_lost
        └── CancelledError              cancelled (ends as `cancelled`)
"""

import math
import reprlib
from collections.abc import Mapping
from typing import Any, ClassVar

CHALLENGE = 'ApiKey realm="coursegraph", header="X-API-Key"'

_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 80  # characters
_shortened.maxlevel = 2  # what is nested a thousand times cannot be written as a whole


def shown(value: object) -> str:
    """A value in a sentence, whatever its size."""
    return _shortened.repr(value)


class CourseGraphError(Exception):
    """Base of every error that CourseGraph raises on purpose."""


class HttpError(CourseGraphError):
    """An error with an HTTP status; ``slug`` is the stable ``type`` of the problem document."""

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the answer carries besides its content type."""
        return {}

    @property
    def members(self) -> Mapping[str, Any]:
        """Members of the problem document besides the standard ones."""
        return {}


class MalformedBodyError(HttpError):
    """The body is not what its content type says."""

    status, slug, title = 400, "malformed_body", "The body could not be read"


class MalformedAddressError(HttpError):
    """Path or query are not percent-encoded UTF-8."""

    status, slug, title = 400, "malformed_address", "The address could not be read"

    def __init__(self, part: str, found: bytes) -> None:
        wrong = "".join(f"%{byte:02X}" for byte in found)
        super().__init__(f"the {part} of the address holds {wrong}; wanted UTF-8, percent-encoded")


class KeyMissingError(HttpError):
    """The call needs a key and has none."""

    status, slug, title = 401, "key_missing", "A key is needed"

    def __init__(self, scope: str) -> None:
        super().__init__(f"X-API-Key is missing; this call takes a key with scope {scope} or more")

    @property
    def headers(self) -> Mapping[str, str]:
        """How to come back, as RFC 9110 wants it said with each 401."""
        return {"WWW-Authenticate": CHALLENGE}


class KeyRefusedError(HttpError):
    """The key that was given opens nothing; what it was is told nobody."""

    status, slug, title = 401, "key_refused", "The key is not valid"

    def __init__(self) -> None:
        super().__init__("the key in X-API-Key is not known, was revoked, or has expired")

    @property
    def headers(self) -> Mapping[str, str]:
        """How to come back, as RFC 9110 wants it said with each 401."""
        return {"WWW-Authenticate": CHALLENGE}


class KeyScopeError(HttpError):
    """The key may do less than the call."""

    status, slug, title = 403, "key_scope", "The key may not do this"

    def __init__(self, key_id: str, has: str, wanted: str) -> None:
        super().__init__(f"key {key_id!r} has scope {has}; this call takes scope {wanted} or more")


class ElsewhereError(HttpError):
    """There are no keys, and the call does not come from a program or page of this machine."""

    status, slug, title = 403, "elsewhere", "Answered on this machine only"

    def __init__(self, header: str, value: str) -> None:
        super().__init__(
            f"{header} has value {value!r}; as long as there are no keys, only calls to and from pages of localhost "
            "are answered: make a key with `coursegraph keys create`"
        )


class NotFoundError(HttpError):
    """Something named in the request does not exist."""

    status, slug, title = 404, "not_found", "Not found"


class UnknownUserError(NotFoundError):
    """No user has this id."""

    slug, title = "unknown_user", "Unknown user"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"user_id {user_id!r} is not known; create it with PUT /users/{{user_id}}")


class UnknownCourseError(NotFoundError):
    """No course has this id."""

    slug, title = "unknown_course", "Unknown course"

    def __init__(self, course_id: str) -> None:
        super().__init__(f"course_id {course_id!r} is not known; create it with PUT /courses/{{course_id}}")


class UnknownRunError(NotFoundError):
    """No training run has this id."""

    slug, title = "unknown_run", "Unknown training run"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run_id {run_id!r} is not known; GET /training/runs lists those that are")


class UnknownModelError(NotFoundError):
    """No kept model has this id."""

    slug, title = "unknown_model", "Unknown model"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"model_id {model_id!r} is not known or no longer kept; GET /models lists those that are")


class NoModelError(NotFoundError):
    """No model has been published yet."""

    slug, title = "no_model", "No model yet"

    def __init__(self) -> None:
        super().__init__("no model has been published yet; POST /training/runs asks for one")


class NoPictureError(NotFoundError):
    """This picture of this model was not drawn, or cannot be drawn here."""

    slug, title = "no_picture", "No such picture"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"there is no picture {name!r}: {reason}")


class ConflictError(HttpError):
    """The request does not fit the present state."""

    status, slug, title = 409, "conflict", "Conflict"


class RunInProgressError(ConflictError):
    """A training run is already waiting or running."""

    slug, title = "run_in_progress", "A training run is in progress"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"training run {run_id!r} is already waiting or running; wait for its end or cancel it")
        self.run_id = run_id

    @property
    def members(self) -> Mapping[str, Any]:
        """The id of the run that is in the way."""
        return {"run_id": self.run_id}


class RunEndedError(ConflictError):
    """A training run that has ended cannot be cancelled."""

    slug, title = "run_ended", "The training run has ended"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"training run {run_id!r} has already ended as {status!r}")


class QuotaError(ConflictError):
    """There are as many records as the operator allows."""

    slug, title = "quota_reached", "As many as are allowed"

    def __init__(self, kind: str, quota: int, setting: str) -> None:
        super().__init__(f"there are {quota:,} {kind} already, as many as {setting} allows; new ones are not taken")


class KeyInUseError(ConflictError):
    """A batch with this Idempotency-Key is being done."""

    slug, title = "idempotency_key_in_use", "The batch is in progress"

    def __init__(self, key: str) -> None:
        super().__init__(f"a batch with Idempotency-Key {key!r} is in progress; ask again for its answer")

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": "1"}


class KeyReusedError(HttpError):
    """An Idempotency-Key stands for another batch."""

    status, slug, title = 422, "idempotency_key_reused", "The key stands for another batch"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key has value {key!r}, which was used with another body or other options; wanted a new one"
        )


class TooManyRequestsError(HttpError):
    """A key is used faster than it may be."""

    status, slug, title = 429, "too_many_requests", "Too many requests"

    def __init__(self, per_second: float, wait_seconds: float) -> None:
        super().__init__(f"more than {per_second:g} requests a second with this key; wait as long as Retry-After says")
        self._wait_seconds = wait_seconds

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": str(math.ceil(self._wait_seconds))}


class TooLargeError(HttpError):
    """The body or the batch is larger than is taken."""

    status, slug, title = 413, "too_large", "Too large"


class UnsupportedMediaError(HttpError):
    """The content type, or the coding of the content, is not one that this call takes."""

    status, slug, title = 415, "unsupported_media_type", "Unsupported media type"

    def __init__(self, value: str, wanted: str, *, header: str = "Content-Type") -> None:
        super().__init__(f"{header} {value!r} is not taken here; wanted {wanted}")


class InvalidValueError(HttpError):
    """A value in the request is well-formed but cannot be accepted; names the place, the value and what was wanted."""

    status, slug, title = 422, "invalid_value", "Invalid value"

    def __init__(self, loc: tuple[str | int, ...], value: object, wanted: str) -> None:
        super().__init__(f"{'.'.join(map(str, loc))} has value {shown(value)}; wanted {wanted}")
        self.loc = loc
        self.wanted = wanted

    @property
    def members(self) -> Mapping[str, Any]:
        """The same as an entry of ``errors``, as validation gives it."""
        return {"errors": [{"loc": list(self.loc), "msg": f"wanted {self.wanted}", "type": self.slug}]}


class BatchAbortedError(HttpError):
    """``on_error=abort`` and a row was bad: nothing was written."""

    status, slug, title = 422, "batch_aborted", "Nothing was written"

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(f"{len(report['rejected'])} rows were rejected and on_error=abort, so nothing was written")
        self.report = report

    @property
    def members(self) -> Mapping[str, Any]:
        """The batch report, every bad row named."""
        return self.report


class UnavailableError(HttpError):
    """Something this call needs is down for now."""

    status, slug, title = 503, "unavailable", "Unavailable for now"

    def __init__(self, detail: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> Mapping[str, str]:
        """When to try again."""
        return {"Retry-After": str(self.retry_after_seconds)}


class DatabaseGoneError(UnavailableError):
    """The database does not answer; nobody can tell what became of a write that was under way."""

    def __init__(self) -> None:
        super().__init__(
            "the database does not answer; nothing accepted before is lost, "
            "and what this call writes may be stored or not: send it again"
        )


class KeysNeededError(CourseGraphError):
    """The API would listen to others than this machine, and there is no key to tell friends by."""

    def __init__(self, host: str, how: str) -> None:
        super().__init__(
            f"--host has value {host!r}, which others may reach, and there are no keys: make one with `{how}`, set "
            "COURSEGRAPH_ADMIN_KEY (or the file /run/secrets/coursegraph_admin_key), or listen on 127.0.0.1"
        )


class UnknownKeyError(CourseGraphError):
    """No valid key has this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key {key_id!r} is not there, or no longer valid; `coursegraph keys list` shows all")


class SettingError(CourseGraphError):
    """A setting has a value that it cannot have."""

    def __init__(self, key: str, value: object, wanted: str) -> None:
        super().__init__(f"{key} has value {value!r}; wanted {wanted}")
        self.key = key


class EmbeddedDatabaseError(CourseGraphError):
    """The embedded mongod could not be started; the message says what to do."""


class ListenError(CourseGraphError):
    """The API cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {reason}; choose another with --host and --port")


class ChildFailedError(CourseGraphError):
    """A process that this one starts ends again and again before it did anything."""

    def __init__(self, name: str, reason: str, attempts: int) -> None:
        super().__init__(f"{name} does not start, given up after {attempts} attempts: {reason}")


class MissingExtraError(CourseGraphError):
    """A command needs an optional part of the installation that is not there."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"the Python package {module} is not installed; pip install 'coursegraph[{extra}]'")


class ServiceError(CourseGraphError):
    """A command asked a running service, and it did not do what was wanted."""

    def __init__(self, call: str, problem: str) -> None:
        super().__init__(f"{call}: {problem}")


class ImportFileError(CourseGraphError):
    """A file given to import cannot be read as what it claims to be."""


class BackupError(CourseGraphError):
    """A backup cannot be made, is damaged, or cannot be restored into this database."""


class DatasetError(CourseGraphError):
    """A folder or file given to evaluate does not hold what it should."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path} {problem}")


class LeaseLostError(CourseGraphError):
    """This worker's right to train and publish has passed on to another."""

    def __init__(self, fence: int) -> None:
        super().__init__(f"the lease with fence {fence} has passed to another worker; nothing was published")


class ChangeHistoryLostError(CourseGraphError):
    """The change stream no longer reaches back to the wanted time."""


class NotReplicaSetError(CourseGraphError):
    """The database is a standalone server: it has no change streams and no transactions."""

    def __init__(self) -> None:
        super().__init__(
            "the MongoDB server is not a member of a replica set; change streams and transactions need one: "
            "start mongod with --replSet and run rs.initiate() once (one node is enough)"
        )


class NotRouterError(CourseGraphError):
    """The server that was asked is not the router of a sharded cluster."""

    def __init__(self) -> None:
        super().__init__(
            "MONGODB_URI does not name a mongos; only the collections of a sharded cluster can be divided, "
            "and its router must be asked"
        )


class ShardKeyError(CourseGraphError):
    """A collection is divided among shards by a key that the calls do not name."""

    def __init__(self, collection: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        super().__init__(f"{collection} is divided by {dict(found)}; wanted {dict(wanted)}")


class SchemaVersionError(CourseGraphError):
    """The database was written by a newer release, whose documents this one may misread."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the database has schema version {found} and this release knows {known}; install a newer one")


class ArtifactError(CourseGraphError):
    """A model's files are missing or are not what its manifest says; names the file and the problem."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file} {problem}")
        self.file = file


class TrainingError(CourseGraphError):
    """A run ends here as ``failed``."""

    slug: ClassVar[str] = "training_failed"


class NothingToLearnError(TrainingError):
    """There is no interaction with an unseen course beside it, so nothing can be learned."""

    slug = "nothing_to_learn"


class InvalidFeaturesError(TrainingError):
    """A stored content vector cannot be used; names the record."""

    slug = "invalid_features"

    def __init__(self, kind: str, record_id: str, problem: str) -> None:
        self.kind, self.record_id, self.problem = kind, record_id, problem
        super().__init__(f"the features of {kind} {record_id!r} {problem}")


class DivergedError(TrainingError):
    """The loss or the vectors stopped being finite numbers."""

    slug = "diverged"


class CollapsedError(TrainingError):
    """The vectors shrank until all scores were the same."""

    slug = "collapsed"

    def __init__(self, spread: float, loss: float) -> None:
        super().__init__(
            f"the vectors shrank to nothing (a user's scores differ by {spread:.1e}, the loss stayed at {loss:.3f}): "
            "nobody's choices tell anything of anybody else's, or l2_weight is too large; less of it, more "
            "interactions or loss=bpr may help"
        )


class RankLostError(TrainingError):
    """A process that trains together with this one ended or no longer answers."""

    slug = "rank_lost"

    def __init__(self, rank: int, size: int, reason: str) -> None:
        super().__init__(
            f"rank {rank} of {size} lost another one: {reason}; the next run goes on from the last checkpoint"
        )


class CancelledError(TrainingError):
    """Somebody asked for the run to stop."""

    slug = "cancelled"
