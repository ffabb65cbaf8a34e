"""The page for people: one template, one style sheet, one script, all served from here."""
