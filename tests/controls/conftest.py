"""The texts of the training tests."""

from tests.train.conftest import _one_thread, texts  # noqa: F401
