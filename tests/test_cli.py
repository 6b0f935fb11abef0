"""What the two commands print where a run cannot go on."""

import pytest

from kdbias.cli import plain_errors
from kdbias.config.errors import ConfigError, RunStopped


@pytest.mark.parametrize("error", [ConfigError("epochs: must be above 0"), RunStopped("collapsed: rank below 2")])
def test_a_mistake_and_a_failed_training_end_with_their_message_alone(error):
    with pytest.raises(SystemExit) as ended, plain_errors():
        raise error
    assert ended.value.code == f"\n{error}"


def test_another_error_keeps_its_traceback():
    with pytest.raises(ValueError, match="a defect"), plain_errors():
        raise ValueError("a defect")
