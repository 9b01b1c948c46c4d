"""What can go wrong between us and the warehouse, as sentences.

Here: the typed errors. Not here: where they are raised.
"""


class WarehouseError(RuntimeError):
    """Any failure of the warehouse or of the way to it."""


class WarehouseUnreachable(WarehouseError):  # noqa: N818 - a state of the warehouse
    """No connection, or one that broke: nothing is known about the statement's fate."""


class WarehouseDenied(WarehouseError):  # noqa: N818 - a state of the warehouse
    """The login was refused, or there are no credentials to log in with."""


class WarehouseRefused(WarehouseError):  # noqa: N818 - a state of the warehouse
    """The warehouse answered a statement with an error. `sqlstate` is its five characters."""

    def __init__(self, sentence: str, sqlstate: str = "") -> None:
        super().__init__(sentence)
        self.sqlstate = sqlstate


class ViewBusy(WarehouseError):  # noqa: N818 - a state of the warehouse
    """Another refresh or re-creation of the same view is under way."""


class ViewNotIncremental(WarehouseError):  # noqa: N818 - a state of the warehouse
    """The warehouse would recompute a view in full that has to be refreshed incrementally."""
