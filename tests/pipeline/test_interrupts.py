"""What is begun is ended in order, whenever an interrupt comes."""

import os
import signal
import threading

import pytest

from betwixt.interrupts import held_back


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(0.05)  # it comes here, or not at all


def test_an_interrupt_waits_until_the_block_is_over():
    done = []

    def work():
        interrupt()
        interrupt()
        done.append(1)

    with pytest.raises(KeyboardInterrupt), held_back():
        work()
    assert done == [1]
    with pytest.raises(KeyboardInterrupt):  # and from then on it comes at once
        interrupt()


def test_what_the_block_raises_is_raised_where_nothing_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="other"), held_back():
        raise ValueError("other")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_have_nothing_to_hold_back():
    came = []

    def work():
        with held_back():
            came.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert came == [before]
