"""What a search makes large: one utility a file."""

from consort.core.registry import Registry

utilities: Registry[type] = Registry("utility", "consort.search.utilities", decorator="utility", produces="utility")
utility = utilities.registrar()

__all__ = ["utilities", "utility"]
