"""One file for each merge method; the registry finds them by their decorator."""
