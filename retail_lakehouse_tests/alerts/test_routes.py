import dataclasses
from pathlib import Path

import pytest

from retail_lakehouse.alerts.routes import (
    LOG_ROUTE,
    Route,
    RouteKind,
    RoutesError,
    SecretError,
    SecretSource,
    is_allowed_address,
    notices_for,
    read_routes,
)
from retail_lakehouse.contracts.service_levels import Severity
from retail_lakehouse_tests.alerts.build import notice

GOOD = """
[[route]]
name = "on-call"
kind = "slack-bot"
channel = "#lakehouse"
token_env = "SLACK_TOKEN"
owners = ["team:data-platform"]
least_severity = "critical"

[[route]]
name = "pager"
kind = "webhook"
url = "https://pager.example/alerts"
token_file = "/run/secrets/pager"
"""


def test_routes_are_read_and_none_are_the_log(tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(GOOD)
    slack, pager = read_routes(path)
    assert slack.kind is RouteKind.SLACK_BOT
    assert slack.least_severity is Severity.CRITICAL
    assert pager.token_from == SecretSource(file="/run/secrets/pager")
    assert read_routes(None) == (LOG_ROUTE,)


def one(**fields: str) -> str:
    return "[[route]]\n" + "\n".join(f"{name} = {value}" for name, value in fields.items())


@pytest.mark.parametrize(
    "text, part",
    [
        ("", "at least one"),
        ("[other]", "nothing else"),
        ("token = xoxb-hunter2", "it is no TOML"),
        (one(kind='"log"'), "has no name"),
        (one(name='"a"', kind='"fax"'), "kind is to be one of slack-bot"),
        (one(name='"a"', kind='"log"', token='"hunter2"'), "there is no token"),
        (one(name='"a"', kind='"slack-bot"'), "it needs token_env or token_file; it needs a chan"),
        (one(name='"a"', kind='"slack-webhook"', url='"https://hunter2"'), "its url is a secret"),
        (one(name='"a"', kind='"webhook"'), "it needs one of url"),
        (one(name='"a"', kind='"webhook"', url='"http://hunter2.example/"'), "https, or http on"),
        (one(name='"a"', kind='"webhook"', url='"https://u:hunter2@x/"'), "https, or http on"),
        (one(name='"a"', kind='"webhook"', url="7"), "url is to be a text"),
        (one(name='"a"', kind='"log"', least_severity='"big"'), "least_severity is to be one"),
        (one(name='"a"', kind='"log"', owners='"me"'), "owners is to be a list"),
        (
            one(name='"a"', kind='"webhook"', url_env='"RETAIL_LAKEHOUSE_URL"'),
            "may not begin with RETAIL_LAKEHOUSE_",
        ),
        (
            one(name='"a"', kind='"webhook"', url='"https://x/"', token_env='"retail_lakehouse_t"'),
            "may not begin with RETAIL_LAKEHOUSE_",
        ),
        (
            one(name='"a"', kind='"webhook"', url_env='"A"', url_file='"hunter2"'),
            "a secret has one source",
        ),
        (
            one(
                name='"a"',
                kind='"slack-bot"',
                channel='"#c"',
                token_env='"T"',
                api_url='"http://hunter2.example/"',
            ),
            "https, or http on",
        ),
        (one(name='"a"', kind='"log"') + "\n" + one(name='"a"', kind='"log"'), "two routes named"),
    ],
)
def test_a_wrong_file_is_a_sentence_that_quotes_no_value(
    tmp_path: Path, text: str, part: str
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(text)
    with pytest.raises(RoutesError) as caught:
        read_routes(path)
    assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RoutesError, match="RETAIL_LAKEHOUSE_ALERT_ROUTES_FILE"):
        read_routes(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "url, allowed",
    [
        ("https://a.example/x", True),
        ("http://127.0.0.1:8080/", True),
        ("http://[::1]:8080/", True),
        ("http://localhost/", True),
        ("http://127.0.0.1.evil.example/", False),
        ("http://10.0.0.1/", False),
        ("ftp://127.0.0.1/", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://user:password@a.example/", False),
        ("https://a.example:port/", False),
    ],
)
def test_addresses_are_https_or_on_the_loopback(url: str, allowed: bool) -> None:
    assert is_allowed_address(url) is allowed


def test_owner_and_severity_choose_the_route_and_nothing_goes_nowhere() -> None:
    ours = Route("ours", RouteKind.LOG, owners=("team:data-platform",))
    loud = dataclasses.replace(LOG_ROUTE, name="loud", least_severity=Severity.CRITICAL)
    routes = (ours, loud)
    quiet = notice(1, severity=Severity.WARNING)
    strange = notice(2, severity=Severity.WARNING, owner="team:other")
    both = notice(3)
    assert notices_for(ours, [quiet, strange, both], routes) == (quiet, strange, both)
    # Nobody takes the strange one, so everybody gets it.
    assert notices_for(loud, [quiet, strange, both], routes) == (strange, both)


def test_secrets_come_from_their_source_and_never_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", " hunter2\n")
    assert SecretSource(env="A_TOKEN").read().get_secret_value() == "hunter2"
    assert "hunter2" not in repr(SecretSource(env="A_TOKEN").read())
    path = tmp_path / "token"
    for content in (b"", b"  \n", b"two hunter2", b"hunter2\nhunter2", b"hunter2\xff", b"x" * 9000):
        path.write_bytes(content)
        with pytest.raises(SecretError) as caught:
            SecretSource(file=str(path)).read()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(SecretError, match="There is no secret in the variable NOT_SET"):
        SecretSource(env="NOT_SET").read()
    with pytest.raises(SecretError, match="No such file"):
        SecretSource(file=str(tmp_path / "none")).read()
