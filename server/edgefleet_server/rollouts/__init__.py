"""Rollouts: the plan before, the evidence during, the one next move, and why."""
