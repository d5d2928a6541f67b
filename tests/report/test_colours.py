"""Causes and models are told apart by their colours, by people who see few colours too."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nequip_decorr.md.criteria import CRITERIA
from nequip_decorr.style import model_styles

# Machado, Oliveira & Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291.
SIGHTS = {
    "all colours": np.eye(3),
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}
TO_CONES = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
TO_OKLAB = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
MODELS = [look["color"] for look in model_styles(["a", "b"], None).values()]
COMMON = ("contact", "temperature", "energy", "force")


def linear(colour: str) -> np.ndarray:
    parts = np.array(to_rgb(colour))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def distance(one: str, other: str) -> float:
    """In Oklab, per cent of the way from black to white, for those who see them least apart."""
    seen = [
        [TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(sight @ linear(c), 0, 1)) for c in (one, other)]
        for sight in map(np.asarray, SIGHTS.values())
    ]
    return 100 * min(float(np.linalg.norm(a - b)) for a, b in seen)


@pytest.mark.parametrize("cause", CRITERIA, ids=lambda c: c.name)
def test_a_cause_has_no_colour_of_two_models_and_is_seen_on_white(cause):
    least = 10 if cause.name in COMMON else 5
    assert min(distance(cause.colour, model) for model in MODELS) > least
    luminance = linear(cause.colour) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 3


def test_common_causes_are_told_apart():
    found = [c.colour for c in CRITERIA if c.name in COMMON]
    apart = [distance(a, b) for k, a in enumerate(found) for b in found[:k]]
    assert min(apart) > 7
