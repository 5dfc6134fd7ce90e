"""Waiting: always for something, never longer than a deadline."""

import time


class Timeout(AssertionError):
    pass


def until(what, condition, seconds=60, pause=0.1):
    """The first true value of condition(); `what` says what was waited for in vain."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout(f"not within {seconds} s: {what}")
        time.sleep(pause)
