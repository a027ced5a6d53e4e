"""Readers of other people's logs, one file per format, each found by what the file holds and not by its name."""
