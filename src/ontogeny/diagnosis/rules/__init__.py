"""One file per family of rules. A rule is a function under `@rule`; there is no list to edit."""
