"""Template tags of all pages: times, numbers and texts in the page's language, filters, whether reads are shared."""
