"""Account pages about an organisation: its people, keys, trusts, publications and records."""
