"""Regions: their settings in versions, what may leave them, who belongs to them, who is frozen, who is gone."""
