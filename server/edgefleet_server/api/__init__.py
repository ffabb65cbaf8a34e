"""The HTTP API. Nothing else imports FastAPI, but the dashboard."""
