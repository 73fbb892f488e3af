"""Times, durations, sizes, tables and CSV: how values are read from people and written for them. Pure."""
