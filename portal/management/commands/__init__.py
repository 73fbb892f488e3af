"""`manage.py` commands about the portal as a whole: one file each."""
