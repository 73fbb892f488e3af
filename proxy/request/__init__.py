"""A request as it arrives: path, headers, body, and the JSON as MLflow reads it. Pure."""
