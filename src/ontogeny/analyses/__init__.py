"""Analyses of one run, one per file: recorded arrays in, numbers and sentences out. No torch. See `core.analyses`."""
