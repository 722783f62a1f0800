from tests.training.conftest import command  # noqa: F401 - a fixture
