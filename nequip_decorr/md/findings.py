"""What a check found before anything runs: the fault, how serious it is, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Report one fault of a model, a structure or the settings of a run.

    Attributes:
        message: what is wrong, of what, and the values found.
        severity: ``error`` where no run can be made, ``warning`` where one can and the result
            may be misread.
        remedy: what the user can do; empty where nothing helps.
    """

    message: str
    severity: Severity = "error"
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Select the findings that no run can be made with."""
    return [finding for finding in findings if finding.severity == "error"]
