"""The client of the warehouse: sessions, creating views, refreshing them, typed system rows.

Here: everything that speaks SQL to Redshift, or to the stand-in server that answers like it, always
through `redshift_connector`. Not here: the views' SQL (`contracts/sql`), when to refresh (the
control plane), or the stand-in server (`local/warehouse_server.py`).
"""
