"""Is this training loop doing what its author thinks? Checks on a live loop, which never change it."""
