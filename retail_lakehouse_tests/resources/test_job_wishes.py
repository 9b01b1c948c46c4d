"""A stop that is asked for is remembered by Dagster until something else is asked for."""

import dagster as dg

from retail_lakehouse.resources.job_wishes import note_asked, stops_asked

EVENTS = ("inventory", "transactions")


def test_the_last_thing_that_was_asked_of_a_job_is_what_counts() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert stops_asked(instance, EVENTS) == {}
        note_asked(instance, "inventory", "stop", 5)
        note_asked(instance, "transactions", "restart", 6)
        assert stops_asked(instance, EVENTS) == {"inventory": 5}
        note_asked(instance, "inventory", "stop", 7)
        assert stops_asked(instance, EVENTS) == {"inventory": 7}
        note_asked(instance, "inventory", "start", 8)
        assert stops_asked(instance, EVENTS) == {}
