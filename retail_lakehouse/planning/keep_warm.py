"""What waking the warehouse by the clock costs, and how much of the time it pays for.

Here: the arithmetic and its sources. Not here: when it is woken (`wake_times.py`).

Redshift Serverless bills each query by the second and at least for a minute, with the whole base
capacity of the workgroup, whatever the query is. How long a workgroup stays warm after a query AWS
documents nowhere; only what is billed can be computed.
Source: https://docs.aws.amazon.com/redshift/latest/mgmt/serverless-billing.html
"""

from dataclasses import dataclass

CHARGE_SECONDS = 60
"""Least that a query is billed for."""
USD_PER_RPU_HOUR = 0.375
"""In us-east-1, on demand; other Regions differ. Source: https://aws.amazon.com/redshift/pricing/,
and 'from $1.50 an hour' for 4 RPU."""
BASE_RPUS = frozenset({4, *range(8, 513, 8), *range(544, 1025, 32)})
"""Base capacities that can be chosen; 4, and more than 512, in some Regions only.
Source: https://docs.aws.amazon.com/redshift/latest/mgmt/serverless-capacity.html"""

_WEEK_SECONDS = 7 * 24 * 3600
_WEEKS_A_MONTH = 365 / 12 / 7


@dataclass(frozen=True, slots=True)
class KeepWarmCost:
    """What so many wakings cost a month, each of them finding the warehouse asleep.

    The most that it may be: one that comes while a refresh is billed anyway adds nothing.
    """

    wakings: float
    rpu_hours: float
    usd: float
    billed_share: float
    """Of the time: how much of it is paid for, and so known to be warm."""


def keep_warm_cost(wakings_a_week: int, base_rpu: int) -> KeepWarmCost:
    """Wakings a month x 60 s x base capacity / 3600 is RPU-hours; these x the price is the cost."""
    wakings = wakings_a_week * _WEEKS_A_MONTH
    rpu_hours = wakings * CHARGE_SECONDS * base_rpu / 3600
    return KeepWarmCost(
        wakings=wakings,
        rpu_hours=rpu_hours,
        usd=rpu_hours * USD_PER_RPU_HOUR,
        billed_share=min(1.0, wakings_a_week * CHARGE_SECONDS / _WEEK_SECONDS),
    )
