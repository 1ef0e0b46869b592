"""What a report shows: one registered view a file (see `registry`); sections of the page, and notes to answers."""
