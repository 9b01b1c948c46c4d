"""What a page of `docs/` holds: headings, quotes, code, names in backticks; and what we print.

Here: taking pages, and our own sentences, apart. Not here: what is expected of them.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
COMMAND = "retail-lakehouse"

_FENCE = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
LEAST_LETTERS = 20
"""Fewer letters are words that may stand anywhere."""


@dataclass(frozen=True)
class Page:
    """One page, by its path in the repository."""

    path: str

    @property
    def text(self) -> str:
        return (REPO / self.path).read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def headings(self) -> list[str]:
        return re.findall(r"^## (.+)$", self.text, flags=re.MULTILINE)

    def section(self, heading: str) -> str:
        """The text under a heading."""
        return self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    def blocks(self, language: str) -> list[str]:
        """Fenced code in a language."""
        return [code for name, code in _FENCE.findall(self.text) if name == language]

    def steps(self, heading: str) -> list[tuple[str, str]]:
        """Language and lines of the fenced code under a heading, in its order."""
        return _FENCE.findall(self.section(heading))

    @property
    def prose(self) -> str:
        """The text without fenced code, each run of blanks as one."""
        return " ".join(_FENCE.sub("", self.text).split())

    @property
    def in_backticks(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.prose)

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each `retail-lakehouse …`, in fenced code and in backticks."""
        lines = [line for block in self.blocks("sh") for line in joined(block).splitlines()]
        told = [found for line in lines for found in _calls(line)]
        told += [text for text in self.in_backticks if text.startswith(f"{COMMAND} ")]
        return [shlex.split(text, comments=True)[1:] for text in told]

    @property
    def programs(self) -> set[str]:
        """What the lines of shell code start."""
        lines = [line for block in self.blocks("sh") for line in joined(block).splitlines()]
        return {line.split()[0] for line in lines if line.strip() and not line.startswith("#")}

    @property
    def quotes(self) -> list[str]:
        """The quoted sentences, each as one line."""
        found = re.findall(r"(?:^> .*\n)+", self.text, flags=re.MULTILINE)
        return [" ".join(quote.replace("\n> ", " ").removeprefix("> ").split()) for quote in found]

    @property
    def links(self) -> list[str]:
        """Targets of links to files, relative to the page."""
        targets = re.findall(r"\]\(([^)#]+)\)", self.text)
        return [target for target in targets if "://" not in target]


def joined(shell: str) -> str:
    """Shell code with its continued lines put together."""
    return re.sub(r"\\\n\s*", " ", shell)


def _calls(line: str) -> Iterator[str]:
    """The calls of our command in a line of shell, also of one within another."""
    for found in re.finditer(rf"(?:^|[\s(;]){COMMAND} [^|)<>;]*", line):
        yield found[0].strip(" (;")


def unsaid(text: str) -> str:
    """What of a text is in no sentence that the program can say; values may be put in anywhere."""
    left = list(text)
    for longest, pattern in _our_sentences():
        # Most are not there at all, and a look for a part is quick.
        for found in re.finditer(pattern, text) if longest in text else ():
            left[found.start() : found.end()] = " " * (found.end() - found.start())
    return " ".join("".join(left).split())


def count_letters(text: str) -> int:
    return sum(letter.isalpha() for letter in text)


@cache
def _our_sentences() -> frozenset[tuple[str, str]]:
    """For each text in the package that can be told from another: its longest part, a pattern."""
    patterns = set()
    for path in sorted((REPO / "retail_lakehouse").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = [" ".join(part.split()) for part in _template(node).split("\0")]
            if count_letters("".join(parts)) >= LEAST_LETTERS:
                pattern = r"\s*.{0,80}?\s*".join(map(re.escape, parts))
                patterns.add((max(parts, key=len), pattern))
    return frozenset(patterns)


def _template(node: ast.AST) -> str:
    """A text's literal parts, with a NUL for each value that is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values
        )
    return ""
