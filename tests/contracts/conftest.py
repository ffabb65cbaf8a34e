"""What the contracts share: one PostgreSQL for the session."""

from collections.abc import Iterator

import pytest

from tests.fakes.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL; `new` gives each test a database of its own."""
    with Postgres() as cluster:
        yield cluster
