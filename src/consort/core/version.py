"""The version of consort."""

__version__ = "0.1.0"
