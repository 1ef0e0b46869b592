"""What strategies learn from: observed answers, and the fit on them."""
