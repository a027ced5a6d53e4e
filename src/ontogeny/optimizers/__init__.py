"""Optimizers: what a step does with the gradient. One file each."""
