"""The metrics, one file each; a new file here is a new metric."""
