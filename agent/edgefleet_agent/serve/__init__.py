"""Serving: one worker process per model, started, tried, switched and watched by the agent.

What runs in the agent's process: `launcher`, `process`, `sockets`, `ask`, `golden`, `messages`. What runs in the
worker's: `worker`, `limits`, `model`, `runtime`, `oip`, `http`, `counters`, `trial`, and `golden` again.
"""
