"""The engine of merging: names matched, tensors read in blocks, one method applied to all."""
