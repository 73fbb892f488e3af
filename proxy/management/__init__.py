"""What the commands about one model version share."""
