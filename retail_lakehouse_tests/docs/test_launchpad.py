"""What a runbook has typed into Dagster's Launchpad is taken there as it stands."""

from typing import Any

import dagster as dg

from retail_lakehouse.assets.quarantine_replay import ReplayConfig, quarantine_replay_asset
from retail_lakehouse.build import build_defs
from retail_lakehouse.settings import Settings
from retail_lakehouse_tests.docs.pages import Page


def typed_in(path: str) -> dict[str, Any]:
    """The run configuration on a page."""
    (told,) = (text for text in Page(path).in_backticks if text.startswith("ops: "))
    return dict(dg.config_from_yaml_strings([told]))


def test_the_jobs_that_control_streaming_jobs_take_what_the_index_says() -> None:
    defs = build_defs(Settings.load({"state_dir": "unused"}))
    config = typed_in("docs/runbooks/README.md")
    taken = dg.validate_run_config(defs.resolve_job_def("restart_streaming_jobs"), config)
    assert taken["ops"]["restart_jobs"]["config"]["events"] == ["inventory"]


def test_a_replay_takes_what_the_page_on_quarantine_says() -> None:
    ((op, told),) = typed_in("docs/runbooks/quarantine-share.md")["ops"].items()
    assert op == quarantine_replay_asset().op.name
    assert ReplayConfig(**told["config"]).event == "inventory"
