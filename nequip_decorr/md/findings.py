"""What a check found before anything runs: the fault, how serious it is, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import Finding

__all__ = ["Finding", "errors"]


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Select the findings that no run can be made with."""
    return [finding for finding in findings if finding.severity == "error"]
