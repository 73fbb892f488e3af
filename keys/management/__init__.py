"""What the commands about keys and users share."""
