"""How Django writes dates and times where our own filters do not: in the same form, with the zone."""
