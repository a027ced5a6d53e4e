"""The version, in the one place that the package, its pages and its runs read it from."""

__version__ = "0.1.0"
