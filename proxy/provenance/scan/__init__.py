"""What a version's files can do when they are loaded: what their pickles import, and a rating of it."""
