"""Post-mortems that blamed the wrong thing, as small trainings that take seconds: what was seen, and what was so."""
