"""Signs what regions should run, from what the records say; and keeps the timestamp young."""

import logging
from collections.abc import Callable

from edgefleet_protocol.trust import release_of_path
from edgefleet_trust.errors import TrustError

from ..config import ServerConfig
from ..ingest.counters import Counters
from ..regions.current import policy_of
from ..seams import Repository, Signer
from ..store import regions, releases, rollouts
from ..store.database import Database, Unavailable
from ..store.lease import Lease, Lost, hold
from . import documents
from .faults import fault
from .learner import Learner

LOG = logging.getLogger(__name__)


class Signing:
    """Signs under the lease: in a transaction that another holder would have to wait for."""

    def __init__(
        self,
        repository: Repository,
        signer: Signer,
        database: Database,
        config: ServerConfig,
        counters: Counters,
        on_signed: Callable[[], None],
        learner: Learner,
    ) -> None:
        self._learner = learner
        self._repository, self._signer, self._database = repository, signer, database
        self._config, self._counters, self._on_signed = config, counters, on_signed

    def try_sign(self, region: str, lease: Lease, now: float) -> None:
        """Sign what one region should run; a fault there is counted, and keeps no other region from its own."""
        try:
            self.sign(region, lease, now)
        except (Unavailable, Lost):
            raise
        except Exception as error:
            fault(self._counters, "signing_faults", f"{region}: {error}")

    def sign(self, region: str, lease: Lease, now: float) -> None:
        """Sign what the records of a region say, unless that is signed already; raise Lost when the lease is another's."""
        with self._database.read() as connection:
            records = rollouts.current(connection, region)
            frozen = regions.freezes(connection).get(region, "")
            version, default = regions.current(connection, region), policy_of(connection, region, self._config)
        before = self._repository.rollout(region)
        if not records and before is None:
            return
        listed = {ref.sha256 for ref in self._repository.releases().values()}
        moment = documents.moment(now)
        document = documents.wish(
            region,
            records,
            before,
            default,
            moment,
            listed,
            frozen,
            version is not None,
            lambda release: self._learner.table(release, region),
        )
        if document is None:
            return
        for row in before.assignments if before is not None else ():
            if row.release.sha256 not in listed:
                name = release_of_path(row.release.path)
                self._counters.add("unlisted", reason=f"{name} is not listed any more and was left out in {region}")
        with self._database.write() as connection:
            hold(connection, lease)
            self._signer.sign_rollout(document, moment)
        LOG.info("signed number %d for %s", document.serial, region)
        self._on_signed()

    def refresh(self, lease: Lease, now: float) -> None:
        """Remember which releases are listed, and sign the timestamp anew when it is a day old."""
        with self._database.write() as connection:
            releases.see(connection, self._repository.releases(), now)
        try:
            with self._database.write() as connection:
                hold(connection, lease)
                fresh = self._signer.refresh(documents.moment(now))
            if fresh:
                self._on_signed()
        except TrustError as error:  # as a clock that went back; rollouts go on being judged
            fault(self._counters, "refresh_faults", str(error))
