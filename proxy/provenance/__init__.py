"""What each version's files were, down to the byte: digests, manifests, signatures, and comparisons with the store."""
