"""Models of our own: one file each, with a `register` that makes them known to transformers' Auto classes."""
