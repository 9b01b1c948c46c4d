"""What is said of a wrong setting: a sentence a fault, naming the variable to change.

Here: the sentences. Not here: the settings and what is wrong with one (`setting_fields.py`,
`settings.py`).
"""

import difflib
from collections.abc import Collection, Mapping

from pydantic import ValidationError


def unknown_variables(
    environ: Mapping[str, str], fields: Collection[str], prefix: str
) -> list[str]:
    """A sentence for each variable with our prefix that sets nothing: a typing error, most likely.

    The prefix is looked at as pydantic-settings does, whatever the case.
    """
    known = {f"{prefix}{name.upper()}" for name in fields}
    sentences = []
    for name in sorted(environ):
        told = name.upper()
        if not told.startswith(prefix) or told in known:
            continue
        close = difflib.get_close_matches(told, known, n=1, cutoff=0.0)[0]
        sentences.append(
            f"The environment has {name}, which is no setting; the nearest is {close}. "
            "Correct the name, or unset it."
        )
    return sentences


def fault_sentences(error: ValidationError, prefix: str) -> str:
    """The faults that the settings' validation found, a line each."""
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if name:
            lines.append(
                f"The setting {name} is wrong: {message} (it was {fault.get('input')!r}). "
                f"Give {prefix}{name.upper()} (or --set {name}=) another value, or leave it "
                "out for the default."
            )
        else:
            lines.append(f"The settings contradict each other: {message}.")
    return "\n".join(lines)
