"""The page of the server: static files."""
