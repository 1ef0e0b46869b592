"""Detectors of faithfulness: an answer against the text that it must agree with."""
