import pytest

# What these assert is told in full, as in tests themselves.
pytest.register_assert_rewrite("tests.chaos")
