"""Components that a stranger might add: each is one file here, planted into its room, and nothing else is touched."""
