"""The asset graph as a committed file: a change of lineage is a reviewed change.

Write the file anew with `python -m retail_lakehouse_tests.test_graph_snapshot`.
"""

import json
from pathlib import Path

import dagster as dg

from retail_lakehouse.build import build_defs
from retail_lakehouse.settings import Settings

SNAPSHOT = Path(__file__).with_name("graph_snapshot.json")


def graph() -> dict[str, dict[str, object]]:
    """Every asset with what lineage and looks hang on."""
    defs = build_defs(Settings.load({"state_dir": "unused"}))
    asset_graph = defs.resolve_asset_graph()
    checks: dict[dg.AssetKey, list[str]] = {}
    for check in asset_graph.asset_check_keys:
        checks.setdefault(check.asset_key, []).append(check.name)
    nodes = {}
    for key in sorted(asset_graph.get_all_asset_keys()):
        node = asset_graph.get(key)
        nodes[key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "checks": sorted(checks.get(key, [])),
            "materializable": node.is_materializable,
            "observable": node.is_observable,
        }
    return nodes


def test_the_asset_graph_is_the_committed_one() -> None:
    committed = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert graph() == committed, (
        "The asset graph has changed. If that is meant, write the snapshot anew with "
        "`python -m retail_lakehouse_tests.test_graph_snapshot` and have it reviewed."
    )


def test_every_asset_has_an_owner_a_kind_a_description_and_columns() -> None:
    defs = build_defs(Settings.load({"state_dir": "unused"}))
    for key in defs.resolve_asset_graph().get_all_asset_keys():
        node = defs.resolve_asset_graph().get(key)
        assert node.owners == ["team:data-platform"], key
        assert node.kinds, key
        assert node.description, key
        if key.path[0] != "streaming" and node.group_name != "maintenance":
            assert "dagster/column_schema" in node.metadata, key


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(graph(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
