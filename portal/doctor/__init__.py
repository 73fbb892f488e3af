"""What a third party would try at a portal, step by step, each with a verdict in words.

Knows a portal only from outside, by its address and a key: no database, nothing of Django's or MLflow's.
"""
