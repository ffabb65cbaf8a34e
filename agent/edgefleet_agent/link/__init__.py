"""The broker, and fetching chunks from it."""
