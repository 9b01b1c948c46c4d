"""A verdict under the name of its check, as Dagster takes it.

Here: the two forms of one verdict, from a run and from a sensor, and what a check's page says of
its service level. Not here: verdicts.
"""

from dataclasses import dataclass, replace

import dagster as dg

from retail_lakehouse.checks.judges import Verdict
from retail_lakehouse.contracts.service_levels import Measure, level_of


@dataclass(frozen=True, slots=True)
class JudgedCheck:
    """One check and its verdict."""

    key: dg.AssetCheckKey
    verdict: Verdict

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """WARN for what is no outage."""
        return dg.AssetCheckSeverity.WARN if self.verdict.warn_only else dg.AssetCheckSeverity.ERROR

    def not_knowing(self, what: str) -> "JudgedCheck":
        """The same with a figure that says what the verdict could not take into account."""
        figures = {**self.verdict.figures, "not_known": what}
        return replace(self, verdict=replace(self.verdict, figures=figures))

    def result(self) -> dg.AssetCheckResult:
        """As a check's button reports it, from inside a run."""
        return dg.AssetCheckResult(
            asset_key=self.key.asset_key,
            check_name=self.key.name,
            passed=self.verdict.passed,
            severity=self.severity,
            description=self.verdict.sentence,
            metadata=dict(self.verdict.figures),
        )

    def evaluation(self) -> dg.AssetCheckEvaluation:
        """As a sensor reports it, without a run."""
        return dg.AssetCheckEvaluation(
            asset_key=self.key.asset_key,
            check_name=self.key.name,
            passed=self.verdict.passed,
            severity=self.severity,
            description=self.verdict.sentence,
            metadata=dict(self.verdict.figures),
        )


def level_metadata(subject: str, measure: Measure) -> dict[str, str]:
    """What a check's page says of its level: how much it matters, whose it is, what to do."""
    level = level_of(subject, measure)
    return {
        "severity": level.severity.value,
        "owner": level.owner,
        "runbook": level.runbook,
    }
