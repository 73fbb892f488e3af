"""Who is calling and what they may do: users, API keys, rights, limits, alerts. Knows nothing about MLflow."""
