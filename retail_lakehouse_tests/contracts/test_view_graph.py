"""Rules of which materialized views each view shows."""

from retail_lakehouse.contracts.views import (
    ARRIVALS,
    MATERIALIZED_VIEWS,
    VIEWS,
    materialized_under,
    view_named,
)


def test_a_materialized_view_shows_its_own_rows_only() -> None:
    assert all(materialized_under(view) == {view.name} for view in MATERIALIZED_VIEWS)


def test_a_plain_view_shows_what_it_reads_through_other_plain_ones_too() -> None:
    through = view_named("net_available_by_store")
    below = [view for view in VIEWS if view.qualified_name in through.depends_on]
    assert any(not view.is_materialized for view in below)
    assert materialized_under(through) == set().union(*map(materialized_under, below))
    assert "mv_stock_newest" in materialized_under(through)
    assert materialized_under(view_named("pipeline_age")) == {view.name for view in ARRIVALS}


def test_a_plain_view_over_tables_alone_shows_none() -> None:
    assert materialized_under(view_named("quarantine")) == set()
