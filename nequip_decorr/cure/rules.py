"""What is worth a label, and what is never labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import UserError

DEFAULT_BEYOND: Final = 3.0
"""Labels farther out are hard to learn, and the cure fails: ``docs/cure.md``."""


@dataclass(frozen=True)
class Rules:
    """What is chosen, and what never.

    Attributes:
        frames: at most so many.
        beyond: no frame with a larger grade, once the user's own cells count as labelled; MD ends
            there.
        contact_fraction: no frame with a pair closer than this fraction of its covalent radii; the
            default is the criterion's.
        own_share: share of ``frames`` that is offered to the user's own cells first.
        per_element: so many frames for each element first, where its atoms are beyond the edge.
        per_composition: so many frames of each composition then, where they are beyond the edge.
    """

    frames: int = 20
    beyond: float = DEFAULT_BEYOND
    contact_fraction: float = 0.6
    own_share: float = 0.0
    per_element: int = 1
    per_composition: int = 0

    def __post_init__(self) -> None:
        limits = {
            "frames": (self.frames >= 1, "at least 1"),
            "beyond": (self.beyond > 1, "above 1, the edge of the data"),
            "contact_fraction": (self.contact_fraction >= 0, "at least 0"),
            "own_share": (0 <= self.own_share <= 1, "from 0 to 1"),
            "per_element": (self.per_element >= 0, "at least 0"),
            "per_composition": (self.per_composition >= 0, "at least 0"),
        }
        for name, (ok, allowed) in limits.items():
            if not ok:
                raise UserError(f"{name}: got {getattr(self, name)}; allowed: {allowed}")
