"""The usage log: from a call's record in the spool to partitions, totals and metrics."""
