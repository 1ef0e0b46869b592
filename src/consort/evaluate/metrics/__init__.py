"""Metrics, one a file; their registry is consort.data.registry, since task files are checked by what they declare."""
