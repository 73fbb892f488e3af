"""Account pages about what an organisation has made."""
