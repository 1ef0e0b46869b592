"""What strategies over finished answers share: candidates, readings, votes, rankings."""
