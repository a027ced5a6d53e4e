"""Draws without any effect for every analysis, and how often it claims one."""
