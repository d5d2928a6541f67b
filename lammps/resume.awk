# Prints a thermo.csv or a dump without the steps from "step" on: a run that was killed had gone
# beyond its last restart file, and does those steps again.
FNR == 1 { csv = /^step,/; if (csv) { print; next } }
csv { if ($0 != "" && $0 + 0 < step) print; next }
/^ITEM: TIMESTEP/ { heading = 1; next }
heading { heading = 0; keep = $0 + 0 < step; if (keep) print "ITEM: TIMESTEP" }
keep
