"""The lists of calls and registrations: filters, pages by keyset, exports. Pages, the API and commands share them."""
