"""Ensembles of language models: before (routers), during (token distributions) and after (answers) inference."""
