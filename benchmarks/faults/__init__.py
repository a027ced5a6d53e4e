"""Faults, planted into clean synthetic logs: one generator per rule, one file per family of rules."""
