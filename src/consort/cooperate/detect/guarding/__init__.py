"""Models that a detector watches over, and what is done about an answer in doubt."""
