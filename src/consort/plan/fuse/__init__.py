"""Plans of knowledge fusion."""
