"""A verdict under the name of its check, as Dagster takes it.

Here: the two forms of one verdict, from a run and from a sensor. Not here: verdicts.
"""

from dataclasses import dataclass

import dagster as dg

from retail_lakehouse.checks.judges import Verdict


@dataclass(frozen=True, slots=True)
class JudgedCheck:
    """One check and its verdict."""

    key: dg.AssetCheckKey
    verdict: Verdict

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """WARN for what is no outage."""
        return dg.AssetCheckSeverity.WARN if self.verdict.warn_only else dg.AssetCheckSeverity.ERROR

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
