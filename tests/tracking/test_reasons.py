import sqlite3

import pytest

from semiseg.tracking.reasons import LENGTH, reason

REFUSED = (
    "API request to http://me:secret@h:5/api failed with exception HTTPConnectionPool(host='h', port=5): Max retries "
    "exceeded with url: /api (Caused by NewConnectionError('...: [Errno 111] Connection refused'))"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (REFUSED, "nothing answers there"),
        ("failed with timeout exception HTTPConnectionPool: Read timed out. (read timeout=10)", "no answer in time"),
        ("Max retries exceeded with url: /x (Caused by ResponseError('too many 507 error responses'))", "507"),
        ("API request to endpoint /api failed with error code 404 != 200", "error 404"),
        ("(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT ...]", "no space left there"),
        ("(sqlite3.OperationalError) database is locked", "locked"),
    ],
)
def test_the_text_of_a_library_becomes_a_few_words(text, words):
    told = reason(RuntimeError(text))
    assert words in told and len(told) < 60 and "secret" not in told


def test_a_cause_that_is_not_in_the_text_counts_too():
    try:
        try:
            raise sqlite3.OperationalError("file is not a database")
        except sqlite3.OperationalError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        assert reason(error) == "the file is no database"


def test_anything_else_is_one_short_line_without_its_password():
    told = reason(ValueError("no http://me:secret@host " + "x" * 500 + "\nsecond line"))
    assert told.startswith("ValueError: no http://me:***@host x") and len(told) == LENGTH and "\n" not in told
