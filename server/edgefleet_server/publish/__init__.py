"""Keeping on the broker what devices need: metadata, documents, and the chunks of the variants that are picked."""
