"""`manage.py doctor`: the steps that check a portal from outside, each with a verdict and advice.

It knows the portal only by its address and a key. It uses no database, and neither Django nor MLflow.
"""
