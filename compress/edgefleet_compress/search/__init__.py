"""Which combination of techniques, in which order and at which ratios, is best for a target: found by trying."""
