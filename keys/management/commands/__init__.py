"""`manage.py` commands about keys, users and alerts: one file each."""
