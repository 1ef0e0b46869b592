"""What a search makes large: one utility a file."""
