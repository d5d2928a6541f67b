"""NequIP's own tests of an energy model, on a tapped one: equivariance, batches, forces, cutoffs.

What compiles is tested in `test_taps.py`.
"""

import pytest
from nequip.utils.test import set_irreps_debug
from nequip.utils.unittests import conftest as nequip_fixtures
from nequip.utils.unittests.model_tests_basic import EnergyModelTestsMixin

from nequip_decorr.features.taps import TAPS

# Importing NequIP's fixtures turns this on for the whole process.
set_irreps_debug(False)
default_dtype = nequip_fixtures.default_dtype
molecules = nequip_fixtures.molecules
nequip_dataset = nequip_fixtures.nequip_dataset
atomic_batch = nequip_fixtures.atomic_batch
diamond_carbon = nequip_fixtures.diamond_carbon
Cu_bulk = nequip_fixtures.Cu_bulk


class TestTappedNequIP(EnergyModelTestsMixin):
    @pytest.fixture(scope="class")
    @classmethod
    def model_dtype(cls, default_dtype):
        return "float64"

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls):
        return {
            "_target_": "nequip_decorr.TapFeatures",
            "builder": "nequip.model.NequIPGNNModel",
            "taps": sorted(TAPS),
            "seed": 1,
            "type_names": ["H", "C", "O"],
            "r_max": 3.5,
            "avg_num_neighbors": 10.0,
            "num_layers": 2,
            "l_max": 1,
            "parity": True,
            "num_features": 4,
            "radial_mlp_depth": 1,
            "radial_mlp_width": 8,
        }

    @pytest.fixture
    def strict_locality(self):
        return False

    @pytest.mark.slow
    def test_numeric_gradient_partial(self, partial_model, atomic_batch, device):
        super().test_numeric_gradient_partial(partial_model, atomic_batch, device)
