"""What must hold before a variant goes into a package, each gate a file: coverage, insurance, calibration."""
