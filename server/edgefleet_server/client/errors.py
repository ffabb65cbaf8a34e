"""Why the server did not do it.

ApiError
├── NoServer      nobody answered, or not as an EdgeFleet server does
├── NotThere      404: it is not there, or not yours to see
├── Denied        401, 403: nobody knows who asks, or they may not
├── Conflict      409: a rule forbids it now
├── BadRequest    422: it makes no sense as it was written
└── Failed        5xx: the server cannot do it now
"""

from .types import Problem


class ApiError(Exception):
    """The server did not do it. `problem` is what it said, None when nobody answered."""

    def __init__(self, said: str, problem: Problem | None = None) -> None:
        super().__init__(said)
        self.problem = problem

    @property
    def next(self) -> str | None:
        """What to do about it, where the server knows."""
        return self.problem.next if self.problem else None


class NoServer(ApiError):
    """Nobody answered, or not as an EdgeFleet server does."""


class NotThere(ApiError):
    """It is not there, or not yours to see."""


class Denied(ApiError):
    """Nobody knows who asks, or they may not."""


class Conflict(ApiError):
    """A rule forbids it now."""


class BadRequest(ApiError):
    """It makes no sense as it was written."""


class Failed(ApiError):
    """The server cannot do it now."""


KINDS: dict[int, type[ApiError]] = {401: Denied, 403: Denied, 404: NotThere, 409: Conflict, 422: BadRequest}


def of_problem(problem: Problem) -> ApiError:
    """Return the exception for a problem."""
    kind = KINDS.get(problem.status, Failed if problem.status >= 500 else ApiError)
    return kind(problem.detail or problem.title, problem)
