"""What tests say of what they found."""

from node import Failure


def test(function):
    function.is_test = True
    return function


def equal(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: {got!r}, not {wanted!r}")


def contains(what, text, part):
    if part not in text:
        raise Failure(f"{what}: {part!r} is not in {text!r}")
