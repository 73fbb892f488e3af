"""Building blocks that the admin, the account pages and the dashboard share."""
