"""Under which names the web server answers: `host` and `host:port`, as a Host header has them.

Here: reading such a name, and the set of those that are ours. Not here: headers and refusals
(`guard.py`). Knows no settings, so that they can refuse a wrong name at once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from retail_lakehouse.loopback import LOOPBACK

LOOPBACK_NAMES = (LOOPBACK, "localhost", "[::1]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A name, an IPv4 address or an IPv6 address in brackets; then, perhaps, a port.
_AUTHORITY = re.compile(r"([a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


class HostNameError(ValueError):
    """A text that is no `host` or `host:port`."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A host, in lower case, and the port that was named with it."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host` or `host:port`.

        Raises:
            HostNameError: it is neither.
        """
        found = _AUTHORITY.fullmatch(text.lower())
        port = int(found[2]) if found and found[2] else None
        if found is None or (port is not None and not 0 < port < 65536):
            raise HostNameError(f"{text!r} is no host name, and none with a port (host:port)")
        return cls(found[1], port)


def parse_hosts(text: str) -> tuple[Authority, ...]:
    """Read names that are separated by commas.

    Raises:
        HostNameError: one of them is no `host` or `host:port`.
    """
    return tuple(Authority.parse(part.strip()) for part in text.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names under which one server may be asked.

    A name that was allowed with a port is allowed with that port only; one without a port is
    allowed with the server's own port, and with none (behind a proxy on 80 or 443).
    """

    server_port: int
    allowed: frozenset[Authority]

    @classmethod
    def of(cls, server_port: int, more: Iterable[Authority] = ()) -> Self:
        """The loopback names with the server's port, and `more`."""
        own = {Authority(name, server_port) for name in LOOPBACK_NAMES}
        return cls(server_port, frozenset(own | set(more)))

    def host_is_ours(self, text: str) -> bool:
        """Whether a Host header names this server."""
        try:
            asked = Authority.parse(text)
        except HostNameError:
            return False
        if asked in self.allowed:
            return True
        without_port = Authority(asked.host, None) in self.allowed
        return without_port and asked.port == self.server_port

    def origin_is_ours(self, text: str) -> bool:
        """Whether an Origin header names a page of this server; `null` does not."""
        try:
            scheme, authority, path, query, fragment = urlsplit(text)
            asked = Authority.parse(authority)
        except ValueError:
            return False
        if scheme not in _DEFAULT_PORTS or path or query or fragment:
            return False
        # `http://name:80` and `http://name` are one origin, and are told as the latter.
        return self.host_is_ours(authority) or (
            asked.port is None and Authority(asked.host, _DEFAULT_PORTS[scheme]) in self.allowed
        )
