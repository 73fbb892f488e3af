"""Pages that belong to no single app: front page, dashboard, docs, settings, admin theme."""
