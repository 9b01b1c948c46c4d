"""What the package says of itself is what the repository holds."""

import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def test_the_licence_that_is_declared_lies_beside_it() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    (name,) = project["license-files"]
    text = " ".join((REPO / name).read_text().split())
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "9. Accepting Warranty or Additional Liability." in text
    # With a licence expression a licence classifier is refused (PEP 639).
    assert not [each for each in project["classifiers"] if each.startswith("License ::")]
