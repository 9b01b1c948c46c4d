"""Rules of the ports that are given out."""

from retail_lakehouse.local import ports


def test_free_ports_differ_and_lie_below_those_that_systems_give_to_clients() -> None:
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert all(1024 < port < 16_000 for port in found)
