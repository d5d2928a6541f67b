"""The one table of tolerances, by dtype. Loosening one needs a comment that says why."""

import torch

MERGE = {torch.float64: 1e-12}
CORRELATION = {torch.float64: 1e-10, torch.float32: 1e-4}
ENERGY_EV_PER_ATOM = {"float32": 1e-5, "float64": 1e-8}
FORCE_EV_PER_A = {"float32": 1e-4, "float64": 1e-7}
