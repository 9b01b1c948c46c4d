"""What tells one Kafka record from every other, for as long as tables are kept.

Here: the name alone, so that whoever keeps an account of records needs no Spark. Not here: finding
records (`erasure.py`), keeping the account (`local/erasures.py`).
"""

from typing import NamedTuple


class Place(NamedTuple):
    """Where a record lay in Kafka, and since when.

    Partition and offset are given out again: by a topic of the same name that was made anew, and by
    a broker that lost its last records. The topic's id tells the first apart, the broker's time the
    second.
    """

    topic_id: str
    partition: int
    offset: int
    broker_ms: int
    """Broker time of the record, epoch milliseconds."""
