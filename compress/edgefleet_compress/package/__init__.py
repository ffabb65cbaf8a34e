"""The package: the folder that `edgefleet release propose` takes, and the report for people beside it."""
