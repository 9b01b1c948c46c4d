import pytest

from retail_lakehouse.sensors.edges import HEARTBEAT_SECONDS, CursorError, Edge, Memory


def test_a_state_is_worth_an_event_when_it_is_new_changes_or_is_due_again() -> None:
    memory = Memory()
    assert memory.edge("job", "failed", 0) is Edge.FIRST
    assert memory.edge("job", "failed", 1_000) is Edge.PERSISTING
    assert memory.edge("job", "passed", 2_000) is Edge.CHANGED
    assert memory.edge("job", "passed", 2_000 + HEARTBEAT_SECONDS * 1_000 - 1) is Edge.PERSISTING
    assert memory.edge("job", "passed", 2_000 + HEARTBEAT_SECONDS * 1_000) is Edge.HEARTBEAT
    assert memory.edge("job", "passed", 2_001 + HEARTBEAT_SECONDS * 1_000) is Edge.PERSISTING


def test_a_memory_survives_its_cursor() -> None:
    memory = Memory(facts={"snapshots": {"inventory_events": 2**62}})
    memory.edge("job", "failed", 5)
    again = Memory.from_cursor(memory.to_cursor())
    assert again == memory
    assert again.edge("job", "failed", 6) is Edge.PERSISTING


@pytest.mark.parametrize("cursor", [None, ""])
def test_a_sensor_without_a_cursor_remembers_nothing(cursor: str | None) -> None:
    assert Memory.from_cursor(cursor) == Memory()


@pytest.mark.parametrize("cursor", ["17", "not json", '{"reported": 1, "facts": {}}'])
def test_a_foreign_cursor_is_named_in_a_sentence(cursor: str) -> None:
    with pytest.raises(CursorError, match="reset it"):
        Memory.from_cursor(cursor)
