"""Loopback ports: which are free, and who holds the others.

Belongs here: looking at ports. Doesn't belong here: which port is whose (`settings.py`).
"""

from __future__ import annotations

import random
import socket

import psutil  # type: ignore[import-untyped]

from retail_lakehouse.loopback import LOOPBACK

_SERVER_PORTS = (10_000, 15_000)
# Not the seeded one: who seeds it alike in two processes would get the same ports in both.
_RANDOM = random.SystemRandom()


class PortTakenError(RuntimeError):
    """A port that is needed belongs to another program."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_answering(port: int, timeout_seconds: float = 0.5) -> bool:
    """Whether something accepts connections on this port of the loopback address."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_seconds):
            return True
    except OSError:
        return False


def free_port() -> int:
    """Give one port as `free_ports` does."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Give ports that are free now and that no outgoing connection is given by the system.

    Linux hands out 32768 and above to clients, gVisor's sandbox 16000 and above; a server's port
    from there may be taken between the look and the server's start. Two processes that ask at
    once hardly get the same.
    """
    found: list[int] = []
    while len(found) < count:
        port = _RANDOM.randrange(*_SERVER_PORTS)
        if port not in found and is_free(port):
            found.append(port)
    return found


def holder(port: int) -> tuple[int, str] | None:
    """Give process id and name of who listens on a port, or None if the system does not tell."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            if listens and connection.pid is not None:
                return connection.pid, str(psutil.Process(connection.pid).name())
    except psutil.Error:
        return None
    return None


def require_free(port: int, purpose: str, setting: str) -> None:
    """Refuse to go on if a port is taken.

    Args:
        port: The port.
        purpose: Whose port it is, for the sentence: `the broker`.
        setting: What to set to choose another one.

    Raises:
        PortTakenError: It is taken; the sentence names who holds it, where the system tells.
    """
    if is_free(port):
        return
    found = holder(port)
    by = f"process {found[0]} ({found[1]})" if found else "another program"
    raise PortTakenError(
        f"Port {port}, which {purpose} needs, is taken by {by}. "
        f"End that program, or set {setting} to a free port."
    )
