"""Messages: plain lines on stderr while a command runs, each once; a library prints none."""

import logging
import subprocess
import sys

import pytest

from vaegan.logs import EVERY_PROCESS, messages_on_stderr

logger = logging.getLogger("vaegan.somewhere")


def test_a_command_prints_each_message_once_as_a_plain_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with messages_on_stderr("evaluation"), messages_on_stderr():
        logger.info("step 1 of 100%")
        logging.getLogger("evaluation.jobs").warning("one failed")
    logger.warning("after the command")
    assert capsys.readouterr() == ("", "step 1 of 100%\none failed\n")


def test_of_several_processes_the_main_one_prints_but_for_what_each_knows_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with messages_on_stderr():
            logger.info("of the run")
            logger.warning(f"of process {rank}", extra=EVERY_PROCESS)
    assert capsys.readouterr().err == "of the run\nof process 0\nof process 1\n"


def test_importing_the_package_configures_no_logging() -> None:
    program = (
        "import logging, vaegan, vaegan.run.train\n"
        "logger = logging.getLogger('vaegan')\n"
        "logger.info('progress')\n"
        "print(logger.handlers, logger.level, logger.propagate)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("[] 0 True\n", "")


def test_a_command_leaves_the_loggers_as_they_were() -> None:
    package = logging.getLogger("vaegan")
    before = (list(package.handlers), package.level, package.propagate)
    with messages_on_stderr():
        assert len(package.handlers) == len(before[0]) + 1
    assert (list(package.handlers), package.level, package.propagate) == before
