"""What was erased on request, as `verify` has to know it.

Here: the journal's entries held against the tables. Not here: the journal (`local/erasures.py`),
the checks (`verifier.py`).

An entry is believed for what it says of its rows, since nothing else knows them any more, and not
for having happened: a table that still has one of its places has not erased it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from retail_lakehouse.contracts.canonical import HASH_MODULUS
from retail_lakehouse.contracts.events import EventContract
from retail_lakehouse.contracts.tables import event_table, quarantine_table
from retail_lakehouse.local.erasures import ErasedSums, Erasure, ErasureJournal
from retail_lakehouse.local.ledger_totals import COORDINATE_MODULUS
from retail_lakehouse.local.verify.tables import TableSide
from retail_lakehouse.maintenance.places import Place

NOTHING = ErasedSums()


@dataclass(slots=True)
class Erased:
    """One topic's erasures that came to be, summed up.

    `came_back` counts places that were erased and are in a table all the same, of whatever topic
    id: nobody's row may come back.
    """

    erasures: int = 0
    sums: dict[str, ErasedSums] = field(default_factory=dict)
    quarantined: set[Place] = field(default_factory=set)
    came_back: int = 0
    after_first: int = 0
    """Rows among them whose key another one has already: copies past the dedupe horizon."""

    def of(self, origin: str) -> ErasedSums:
        """The sums of one origin."""
        return self.sums.get(origin, NOTHING)

    @property
    def rows(self) -> int:
        """Rows of every origin."""
        return sum(each.rows for each in self.sums.values())


def erased_from(
    event: EventContract, side: TableSide, journal: ErasureJournal, topic_id: str
) -> Erased:
    """What was erased from the event's two tables of that which came by one topic id.

    Nobody who compares with that topic misses what an earlier one of its name brought. Backfilled
    rows came by none, and count.

    Raises:
        ErasureJournalError: the journal is damaged.
    """
    erased, ids = Erased(), set()
    for contract in (event_table(event), quarantine_table(event)):
        is_quarantine = contract.kind == "quarantine"
        for entry in journal.entries(contract.name):
            present = side.places_present(entry.places, is_quarantine) if entry.places else 0
            if not _happened(entry, present):
                continue
            erased.came_back += present
            places = {place for place in entry.places if place.topic_id == topic_id}
            rows = [each for each in entry.rows if each.topic_id in (topic_id, None)]
            if is_quarantine:
                erased.quarantined |= places
            for each in rows:
                erased.sums = _added(erased.sums, each.sums)
                erased.after_first += each.after_first
            if places or rows:
                ids.add(entry.erasure_id)
    erased.erasures = len(ids)
    return erased


def _happened(entry: Erasure, present: int) -> bool:
    if entry.done or not entry.places:
        return entry.done
    # The delete is one commit: an entry without its end either has all of its places or none.
    return present < len(entry.places)


def _added(one: Mapping[str, ErasedSums], other: Mapping[str, ErasedSums]) -> dict[str, ErasedSums]:
    return {
        origin: ErasedSums(
            a.rows + b.rows,
            (a.content_hash + b.content_hash) % HASH_MODULUS,
            (a.coordinate_hash + b.coordinate_hash) % COORDINATE_MODULUS,
        )
        for origin in one.keys() | other.keys()
        for a, b in [(one.get(origin, NOTHING), other.get(origin, NOTHING))]
    }
