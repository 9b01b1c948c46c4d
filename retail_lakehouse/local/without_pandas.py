"""Keeping pandas out of processes that never see a data frame.

Belongs here: that alone. DuckDB and pyarrow import pandas when it is there, only to know its types:
a second or more (5 on a busy machine) and 90 MB in each process.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _WithoutPandas(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out of this process", name=fullname)
        return None


def leave_pandas_out() -> None:
    """Make every later `import pandas` of this process fail, as if it were not installed."""
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _WithoutPandas())
