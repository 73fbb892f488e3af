"""Template tags for account pages and explanations of refusals."""
