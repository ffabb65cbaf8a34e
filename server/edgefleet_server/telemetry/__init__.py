"""What windows say together: cells that merge, counts of distinct devices, drift, and the points of a chart. Pure."""
