"""What ensembles of next-token distributions share."""
