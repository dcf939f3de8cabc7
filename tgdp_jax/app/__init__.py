"""The command line and everything behind it that a user of the library does not import."""
