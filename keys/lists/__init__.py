"""The lists of keys, their events and users: filters, columns, words and colours.

Pages, the API and commands share them.
"""
