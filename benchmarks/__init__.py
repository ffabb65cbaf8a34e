"""Each promise about speed or size as a command: `make bench NAME=x`."""
