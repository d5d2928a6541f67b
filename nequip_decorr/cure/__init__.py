"""From a model that leaves its data to one that does not: collect, label, improve."""
