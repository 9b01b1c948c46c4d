"""A base column that got another type: the refresh says so, and the views are made again."""

import pytest
from pyiceberg.types import DecimalType, LongType

from retail_lakehouse.contracts.events import INVENTORY, TRANSACTIONS
from retail_lakehouse.contracts.tables import event_table
from retail_lakehouse.warehouse.ddl import ensure_schemas, ensure_views
from retail_lakehouse.warehouse.query import mv_info
from retail_lakehouse.warehouse.refresh import RefreshOutcome, refresh_views
from retail_lakehouse_tests.warehouse.conftest import Lakehouse

pytestmark = pytest.mark.stack


def test_a_view_whose_base_column_was_retyped_is_made_again(fresh: Lakehouse) -> None:
    with fresh.client.session("tests") as session:
        ensure_schemas(session)
        ensure_views(session)
        inventory = fresh.catalog.load_table(event_table(INVENTORY).identifier)
        with inventory.update_schema() as update:
            update.update_column("quantity_on_hand", LongType())
        transactions = fresh.catalog.load_table(event_table(TRANSACTIONS).identifier)
        with transactions.update_schema() as update:
            update.update_column("discount", DecimalType(38, 4))

        results = {result.view: result for result in refresh_views(session)}
        broken = {name for name, result in results.items() if result.state == 102}
        assert {"mv_stock_newest", "mv_sales_quarter_hour"} <= broken
        assert "mv_web_sessions" not in broken
        for name, result in results.items():
            if name not in broken:
                assert result.ok, result.status
                continue
            assert result.outcome is RefreshOutcome.FAILED
            assert "no refresh can mend it" in result.status
            assert "`retail-lakehouse dev` make it again" in result.status

        changes = {change.view: change.reason for change in ensure_views(session)}
        assert {name: changes[name] for name in broken} == dict.fromkeys(broken, "its base changed")
        assert "mv_web_sessions" not in changes
        assert ensure_views(session) == []
        assert {info.state for info in mv_info(session).values()} == {1}
        assert all(result.ok for result in refresh_views(session))
