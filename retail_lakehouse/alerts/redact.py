"""Taking secrets out of a text that somebody else wrote.

Here: what looks like a secret, and one line of printable text. Not here: where texts come from. An
outage's sentence may quote an address with a password in it; a message must not pass that on.

What repeats in a pattern never gives back what it took, and has a limit where a match may begin
within it: else a few thousand characters that nobody here wrote hold a tick up for minutes.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"

_PATTERNS = (
    # To the last at sign: a password that nobody encoded may have one.
    (re.compile(r"(?<=://)(?:[^/\s@]*+@)++"), f"{HIDDEN}@"),
    (re.compile(r"https://hooks\.slack(?:-gov)?\.com/\S++"), HIDDEN),
    # An address without its host, as libraries name it.
    (re.compile(r"(?:services|workflows|triggers)/T[A-Z0-9]++/\S++"), HIDDEN),
    (re.compile(r"\b(?:xox[a-z]|xapp)-[\w-]++"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,2048}+\.[\w-]++\.[\w-]++"), HIDDEN),
    (re.compile(r"(?i)\bbearer\s++\S++"), f"Bearer {HIDDEN}"),
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd|secret|token|api_?key|signature|credential)"
            r"[\w.-]{0,64}+[\"']?\s*+[=:]\s*+)(\"[^\"]*+\"|'[^']*+'|[^\s,;&)]++)"
        ),
        rf"\1{HIDDEN}",
    ),
)
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def without_secrets(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without what looks like a secret, and without those that are known."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def one_line(text: str, most: int) -> str:
    """The text on one line, of printable characters, cut at `most` of them."""
    shown = _INVISIBLE.sub("", text)
    shown = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
