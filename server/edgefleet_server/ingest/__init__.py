"""What devices say: each message is checked, kept or refused, and counted. No message ends the server."""
