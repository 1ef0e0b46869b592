"""Models that cooperate: one drafts and another checks, or one passes on to another what it knows."""
