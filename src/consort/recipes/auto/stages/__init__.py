"""The stages of `auto`, one a file: each proposes systems that could be better than the best single model."""
