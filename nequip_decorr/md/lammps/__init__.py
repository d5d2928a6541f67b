"""LAMMPS at production scale: ready input folders and a check of model against LAMMPS."""
