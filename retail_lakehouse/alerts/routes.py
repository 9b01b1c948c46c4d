"""Routes: who is told of what, and where; the file of them, validated, and its secrets.

Here: what a route is. Not here: sending (`notifiers.py`). The file names secrets, it never holds
them: an environment variable, or a file that is read anew at each delivery.

    [[route]]
    name = "on-call"
    kind = "slack-bot"              # or slack-webhook, webhook, log
    channel = "#lakehouse"          # slack-bot
    token_file = "/run/secrets/slack"   # or token_env = "SLACK_TOKEN"
    owners = ["team:data-platform"]     # everybody's where it is absent
    least_severity = "warning"          # everything where it is absent

`slack-webhook` and `webhook` have `url_file` or `url_env`; `webhook` may have a plain `url`, and a
token, sent as `Authorization: Bearer`. Addresses are https, or http on the loopback.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from retail_lakehouse.alerts.incidents import Notice
from retail_lakehouse.contracts.service_levels import Severity
from retail_lakehouse.settings import ENV_PREFIX, SettingsError

_MOST_SECRET_BYTES = 8192


class RoutesError(SettingsError):
    """The routes' file cannot be read, or a route in it is wrong; one sentence a fault."""


class SecretError(RuntimeError):
    """A secret is not where the route says, or is none. The sentence never quotes it."""


class RouteKind(StrEnum):
    """How a route sends."""

    SLACK_BOT = "slack-bot"
    SLACK_WEBHOOK = "slack-webhook"
    WEBHOOK = "webhook"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where a secret is: an environment variable, or a file."""

    env: str = ""
    file: str = ""

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self.env or self.file)

    def read(self) -> SecretStr:
        """The secret.

        Raises:
            SecretError: it is absent, empty, too long or has a blank in it.
        """
        where = f"the variable {self.env}" if self.env else f"the file {self.file}"
        try:
            told = os.environ.get(self.env, "") if self.env else _start_of(Path(self.file))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise SecretError(f"The secret of {where} cannot be read: {why}.") from None
        told = told.strip()
        if not told or len(told) > _MOST_SECRET_BYTES:
            raise SecretError(f"There is no secret in {where}: put it there.")
        if not told.isascii() or not told.isprintable() or " " in told:
            raise SecretError(f"What {where} holds is no secret: it has blanks or control marks.")
        return SecretStr(told)


@dataclass(frozen=True, slots=True)
class Route:
    """One way to tell people."""

    name: str
    kind: RouteKind
    owners: tuple[str, ...] = ()
    least_severity: Severity = Severity.INFO
    channel: str = ""
    url: str = field(default="", repr=False)
    url_from: SecretSource = SecretSource()
    token_from: SecretSource = SecretSource()
    api_url: str = ""
    """Slack's API, where it is not the usual one."""

    def takes(self, notice: Notice) -> bool:
        """Whether the notice is for this route."""
        is_owners = not self.owners or notice.owner in self.owners
        return is_owners and notice.severity.rank >= self.least_severity.rank


LOG_ROUTE = Route("log", RouteKind.LOG)
"""Where no routes are set: alerts stand in the log, and in `retail-lakehouse alerts list`."""


def notices_for(
    route: Route, notices: Sequence[Notice], routes: Sequence[Route]
) -> tuple[Notice, ...]:
    """Those that the route takes, and those that no route takes: nothing goes nowhere."""
    return tuple(
        notice
        for notice in notices
        if route.takes(notice) or not any(each.takes(notice) for each in routes)
    )


def read_routes(path: Path | None) -> tuple[Route, ...]:
    """The routes of the file; the log alone without one. Reads no secret.

    Raises:
        RoutesError: the file cannot be read, or a route is wrong.
    """
    if path is None:
        return (LOG_ROUTE,)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        # A TOML error's own words quote the file, and somebody may have put a secret there.
        why = getattr(error, "strerror", None) or "it is no TOML"
        raise RoutesError(
            f"The alerts' routes of {path} cannot be read: {why}. Mend the file, or set "
            f"{ENV_PREFIX}ALERT_ROUTES_FILE to another."
        ) from None
    listed = raw.get("route")
    unknown = sorted(raw.keys() - {"route"})
    if not isinstance(listed, list) or not listed or unknown:
        raise RoutesError(f"{path} is to hold [[route]] tables, at least one, and nothing else.")
    routes = [_route(each, path, number) for number, each in enumerate(listed, 1)]
    names = [route.name for route in routes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RoutesError(f"{path} has two routes named {', '.join(twice)}: give each its own.")
    return tuple(routes)


def is_allowed_address(url: str) -> bool:
    """https, or http on the loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if not host or not has_port or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether the host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_NAMES = frozenset(
    {
        "name",
        "kind",
        "channel",
        "url",
        "url_env",
        "url_file",
        "token_env",
        "token_file",
        "api_url",
        "owners",
        "least_severity",
    }
)


def _route(raw: Mapping[str, object], path: Path, number: int) -> Route:
    """One route.

    Raises:
        RoutesError: all that is wrong with it; a value is never quoted, it may be a secret.
    """
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise RoutesError(f"Route {number} of {path} has no name.")
    faults = [f"there is no {key}" for key in sorted(raw.keys() - _NAMES)]
    faults += [
        f"{key} is to be a text" for key in raw.keys() - {"owners"} if not isinstance(raw[key], str)
    ]
    owners = raw.get("owners", [])
    if not isinstance(owners, list) or not all(isinstance(owner, str) for owner in owners):
        faults.append("owners is to be a list of texts")
    kind, severity = str(raw.get("kind", "")), str(raw.get("least_severity", "info"))
    if kind not in set(RouteKind):
        faults.append(f"kind is to be one of {', '.join(RouteKind)}")
    if severity not in set(Severity):
        faults.append(f"least_severity is to be one of {', '.join(Severity)}")
    if not faults:
        route = Route(
            name=name.strip(),
            kind=RouteKind(kind),
            owners=tuple(owners) if isinstance(owners, list) else (),
            least_severity=Severity(severity),
            channel=str(raw.get("channel", "")),
            url=str(raw.get("url", "")),
            url_from=SecretSource(str(raw.get("url_env", "")), str(raw.get("url_file", ""))),
            token_from=SecretSource(str(raw.get("token_env", "")), str(raw.get("token_file", ""))),
            api_url=str(raw.get("api_url", "")),
        )
        faults = _faults(route)
        if not faults:
            return route
    raise RoutesError(f"The route {name} of {path} is wrong: {'; '.join(faults)}.")


def _faults(route: Route) -> list[str]:
    kind = route.kind
    has_url, has_token = bool(route.url_from), bool(route.token_from)
    rules = (
        (kind is RouteKind.SLACK_BOT and not has_token, "it needs token_env or token_file"),
        (kind is RouteKind.SLACK_BOT and not route.channel, "it needs a channel"),
        (kind is RouteKind.SLACK_WEBHOOK and not has_url, "it needs url_env or url_file"),
        (kind is RouteKind.SLACK_WEBHOOK and bool(route.url), "its url is a secret: url_file"),
        (
            kind is RouteKind.WEBHOOK and has_url == bool(route.url),
            "it needs one of url, url_env and url_file",
        ),
        (
            any(source.env and source.file for source in (route.url_from, route.token_from)),
            "a secret has one source: an environment variable or a file",
        ),
        (
            any(
                source.env.upper().startswith(ENV_PREFIX)
                for source in (route.url_from, route.token_from)
            ),
            f"a secret's variable may not begin with {ENV_PREFIX}: those are settings",
        ),
        (
            any(url and not is_allowed_address(url) for url in (route.url, route.api_url)),
            "an address is to be https, or http on the loopback",
        ),
    )
    return [sentence for is_wrong, sentence in rules if is_wrong]


def _start_of(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(_MOST_SECRET_BYTES + 1)
