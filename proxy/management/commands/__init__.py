"""`manage.py` commands about calls, registrations and owners: one file each."""
