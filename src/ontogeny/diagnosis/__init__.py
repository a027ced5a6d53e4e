"""Verdicts on a training log: findings with their evidence, all clear, or not assessable and why."""
