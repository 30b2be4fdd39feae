"""A request id is executed once, also when its repeat comes early."""

import threading
import time

import pytest

from vm_pool.guest.once import Once


def test_a_repeat_gets_the_first_answer_and_does_nothing():
    done: list[int] = []
    once: Once[int] = Once(keep=10)
    assert once.do("a", lambda: done.append(1) or 7) == (7, False)
    assert once.do("a", lambda: done.append(2) or 8) == (7, True)
    assert done == [1]


def test_a_repeat_that_comes_early_waits_for_the_first():
    once: Once[str] = Once(keep=10)
    running, answers = threading.Event(), []

    def slow() -> str:
        running.set()
        time.sleep(0.1)
        return "first"

    first = threading.Thread(target=lambda: answers.append(once.do("a", slow)))
    first.start()
    running.wait()
    answers.append(once.do("a", lambda: "second"))
    first.join()
    assert sorted(answers) == [("first", False), ("first", True)]


def test_a_failure_is_told_again_and_not_tried_again():
    once: Once[int] = Once(keep=10)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            once.do("a", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        once.do("a", lambda: 1)


def test_only_the_newest_answers_are_kept():
    once: Once[int] = Once(keep=2)
    for number in range(4):
        once.do(str(number), lambda number=number: number)
    assert once.do("3", lambda: 99) == (3, True)
    assert once.do("0", lambda: 99) == (99, False)
