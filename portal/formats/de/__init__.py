"""German formats of dates and times."""
