import io
import json
import logging
import sys

import pytest
import structlog

from notifier.logs import LogFormat, LogLevel, configure_logging


@pytest.fixture
def written():
    stream = io.StringIO()
    yield stream
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)


def test_logfmt_is_one_line_with_time_level_and_event(written):
    configure_logging(LogFormat.LOGFMT, LogLevel.INFO, written)
    structlog.get_logger("x").info("page sent", to="alice", left=None, ids=["a", "b"])
    line = written.getvalue().strip()
    assert line.startswith("timestamp=20")
    assert line.endswith('level=info event="page sent" to=alice ids=a,b')


def test_json_is_an_object_a_line(written):
    configure_logging(LogFormat.JSON, LogLevel.INFO, written)
    structlog.get_logger("x").info("é", n=1)
    logging.getLogger("library").warning("from %s", "elsewhere")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert (first["msg"], first["n"], first["level"]) == ("é", 1, "info")
    assert second["msg"] == "from elsewhere"


def test_levels_below_are_left_out(written):
    configure_logging(LogFormat.LOGFMT, LogLevel.WARNING, written)
    structlog.get_logger("x").info("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    assert written.getvalue() == ""


@pytest.mark.parametrize("format_", LogFormat)
def test_secrets_and_numbers_never_come_out_not_even_in_a_traceback(written, format_):
    redaction = configure_logging(format_, LogLevel.INFO, written)
    redaction.keep_secret(["hunter2-secret"])
    redaction.keep_secret(["another-one"])
    redaction.mask_numbers(["+33639980001", "06 39 98 00 01"])
    log = structlog.get_logger("x")
    log.info("as 33639980001, 0033639980001 and 06 39 98 00 01")
    log.info("calling +33639980001", key="hunter2-secret", nested=["x another-one"], other=object)
    try:
        raise ValueError("bad hunter2-secret for +33639980001")
    except ValueError:
        log.exception("failed")
    logging.getLogger("requests").error("header hunter2-secret")
    text = written.getvalue()
    assert "hunter2" not in text
    assert "another-one" not in text
    assert "39980001" not in text
    assert "39 98 00" not in text
    assert text.count("[secret]") >= 4
    assert "+336••••0001" in text
    assert "ValueError" in text
    assert len(text.splitlines()) == 4


def test_a_log_that_cannot_be_written_breaks_nothing(written):
    """Else a thread that has something to say would end, and its pages with it."""
    configure_logging(LogFormat.LOGFMT, LogLevel.INFO, written)
    written.close()
    structlog.get_logger("x").warning("unheard", to="nobody")
    try:
        raise ValueError("unheard")
    except ValueError:
        structlog.get_logger("x").exception("unheard")
