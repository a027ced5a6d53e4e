"""Readers of training logs, one module per format. A format is recognised by a file's content, not by its name."""
