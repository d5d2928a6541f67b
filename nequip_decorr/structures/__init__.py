"""Structure files: read, named and checked in one way by every command."""

from .check import check_structure, check_time_step, refuse, require_sound
from .names import name_structure, shortest_names
from .read import READ_ALL, Reading, Structure, iter_frames, read_structure, read_structures

__all__ = [
    "READ_ALL",
    "Reading",
    "Structure",
    "check_structure",
    "check_time_step",
    "iter_frames",
    "name_structure",
    "read_structure",
    "read_structures",
    "refuse",
    "require_sound",
    "shortest_names",
]
