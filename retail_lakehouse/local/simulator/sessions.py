"""Web sessions: visitors who look, put into the cart, check out and order.

Here: the state of every running session and its next step. Not here: what an order sells
(`retailer.py`), JSON (`spelling.py`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retail_lakehouse.local.simulator.market import Integers, Market

PAGES = ("HOME", "CATEGORY", "SEARCH", "PRODUCT", "CART", "CHECKOUT", "CONFIRMATION")
ACTION_OF_PAGE = ("VIEW", "VIEW", "VIEW", "VIEW", "CART", "CHECKOUT", "ORDER")
_PRODUCT, _CART, _CONFIRMATION = 3, 4, 6
_GONE = 7

# From each page (rows, as PAGES) to the next (columns, as PAGES, then leaving).
_NEXT = np.array(
    [
        [0.00, 0.35, 0.25, 0.20, 0.00, 0.00, 0.00, 0.20],
        [0.05, 0.15, 0.10, 0.50, 0.00, 0.00, 0.00, 0.20],
        [0.02, 0.08, 0.20, 0.55, 0.00, 0.00, 0.00, 0.15],
        [0.03, 0.15, 0.12, 0.30, 0.22, 0.00, 0.00, 0.18],
        [0.02, 0.10, 0.08, 0.25, 0.00, 0.40, 0.00, 0.15],
        [0.00, 0.00, 0.00, 0.00, 0.15, 0.00, 0.70, 0.15],
        [0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 1.00],
    ]
)
_NEXT_CUMULATIVE = np.cumsum(_NEXT, axis=1)
_KNOWN_CUSTOMERS = 200_000
_ANONYMOUS_SHARE = 0.35


@dataclass(slots=True)
class Steps:
    """One step of each of `len(page)` sessions. `product` is -1 where no product is shown."""

    session: list[str]
    customer: list[str | None]
    page: Integers
    product: Integers
    ordered: NDArray[np.bool_]


class Sessions:
    """The running sessions; they take turns, so each steps about every `step_seconds`."""

    def __init__(self, market: Market, step_seconds: float = 20.0, at_most: int = 60_000) -> None:
        self._market = market
        self._step_seconds = step_seconds
        self._at_most = at_most
        self._names: list[str] = []
        self._customers: list[str | None] = []
        self._page = np.zeros(0, dtype=np.int64)
        self._product = np.zeros(0, dtype=np.int64)
        self._turn = 0

    def step(self, rng: np.random.Generator, count: int, seconds: float, prefix: str) -> Steps:
        """Takes `count` steps, those of about `seconds`; new sessions get `prefix` and a number."""
        wanted = min(self._at_most, int(count * self._step_seconds / max(seconds, 0.001)))
        self._admit(rng, max(wanted, count) - len(self._names), prefix)
        running = len(self._names)
        slots = (self._turn + np.arange(count)) % max(running, 1)
        self._turn = int((self._turn + count) % max(running, 1))
        draws = rng.random(count)[:, None]
        page = (draws > _NEXT_CUMULATIVE[self._page[slots]]).sum(axis=1)
        # A step that would only leave is no event: the slot's next visitor comes instead.
        gone = page >= _GONE
        self._replace(rng, slots[gone], prefix)
        page[gone] = 0
        arrives = page == _PRODUCT
        self._product[slots[arrives]] = rng.integers(
            0, len(self._market.products), int(arrives.sum())
        )
        self._page[slots] = page
        shows = (page == _PRODUCT) | (page == _CART)
        return Steps(
            session=[self._names[slot] for slot in slots.tolist()],
            customer=[self._customers[slot] for slot in slots.tolist()],
            page=page,
            product=np.where(shows, self._product[slots], -1),
            ordered=page == _CONFIRMATION,
        )

    def _admit(self, rng: np.random.Generator, count: int, prefix: str) -> None:
        if count <= 0:
            return
        first = len(self._names)
        self._names += [""] * count
        self._customers += [None] * count
        # They come in the middle of a visit, or else the first orders would take minutes.
        self._page = np.concatenate([self._page, rng.integers(0, _CONFIRMATION, count)])
        self._product = np.concatenate(
            [self._product, rng.integers(0, len(self._market.products), count)]
        )
        self._name(rng, np.arange(first, first + count), prefix + "a")

    def _replace(self, rng: np.random.Generator, slots: Integers, prefix: str) -> None:
        self._name(rng, slots, prefix + "b")
        self._product[slots] = rng.integers(0, len(self._market.products), len(slots))

    def _name(self, rng: np.random.Generator, slots: Integers, prefix: str) -> None:
        customers = rng.integers(0, _KNOWN_CUSTOMERS, len(slots)).tolist()
        anonymous = (rng.random(len(slots)) < _ANONYMOUS_SHARE).tolist()
        for number, (slot, customer, is_anonymous) in enumerate(
            zip(slots.tolist(), customers, anonymous, strict=True)
        ):
            self._names[slot] = f"{prefix}{number:05d}"
            self._customers[slot] = None if is_anonymous else f"c-{customer:06d}"
