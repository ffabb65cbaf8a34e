"""The EdgeFleet server: releases, rollouts by region, telemetry, API and dashboard."""

__version__ = "0.1.0"
