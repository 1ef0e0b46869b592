"""An architecture as transformers builds it: its configuration, its modules and their names, without any weights."""
