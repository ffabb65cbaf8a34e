"""What the agent does once: at its first turn it counts the start and gets ready to do steps; at its end it notes what is due."""

from msgspec.structs import replace

from edgefleet_protocol.hardware import Hardware

from .config import Config
from .hardware.tensorrt import offers_tensorrt, tensorrt_version
from .journal import Journal
from .observe import Documents
from .perform import Performer
from .placing import Placing
from .recovery import recovered
from .seams import Launcher
from .store import Store


def performer(
    config: Config, journal: Journal, store: Store, launcher: Launcher, documents: Documents, hardware: Hardware
) -> Performer:
    """Return what does the steps on this hardware."""
    return Performer(
        journal=journal,
        store=store,
        launcher=launcher,
        documents=documents,
        hardware=hardware,
        threads=config.serve.threads,
        drain_s=config.serve.drain_s,
        golden_deadline_s=config.serve.golden_deadline_s,
        placing=Placing(store, hardware, tensorrt_version() if offers_tensorrt(hardware) else ""),
    )


def count_start(store: Store, journal: Journal) -> None:
    """Make it a fact that the agent started once more, and tell what of the store was not whole."""
    facts = store.facts.facts
    if store.facts.lost:
        facts = recovered(store, facts)
    try:
        store.facts.put(replace(facts, boots=facts.boots + 1))
    except OSError:
        # A full disk must not keep a device from serving; the number is stored with the next fact.
        store.facts.put_later(replace(facts, boots=facts.boots + 1))
    store.counters.begin()
    for problem in (*store.facts.problems, *filter(None, [store.counters.problem])):
        journal.tell("store-damaged", problem)


def note_probation(store: Store, model: str, unnoted_s: float) -> None:
    """Keep the time on probation over the end of the agent; it is made durable with the counters."""
    facts = store.facts.facts
    mine = facts.model(model)
    if mine.active is not None and not mine.active.proven:
        noted = replace(mine, probation_s=mine.probation_s + unnoted_s)
        store.facts.put_later(replace(facts, models={**facts.models, model: noted}))
