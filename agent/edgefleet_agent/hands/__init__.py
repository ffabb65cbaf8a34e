"""Doing steps: `keep` what serves, `move` towards what is wished, with the `tools` of both."""
