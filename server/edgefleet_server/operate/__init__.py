"""Keeping a server: beginning one, checking it, copying it and bringing it back."""
