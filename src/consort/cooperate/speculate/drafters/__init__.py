"""What guesses ahead: one drafter a file."""
