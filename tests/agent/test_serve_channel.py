"""What a worker says is not believed: nothing of it may end the agent's turn."""

import pytest

from edgefleet_agent.serve.messages import Imported, encode
from edgefleet_agent.serve.process import Channel


@pytest.mark.parametrize(
    "said",
    [
        b"{",
        b'{"type":"unknown"}',
        b'{"type":"failed","reason":"\xff"}',
    ],
)
def test_what_nobody_can_read_is_passed_over_and_the_next_word_is_heard(said: bytes) -> None:
    channel = Channel()
    with channel.theirs as worker:
        worker.send(said)
        worker.send(encode(Imported()))
        assert channel.hear() is None
        assert channel.hear() == Imported()
    channel.close()


def test_words_that_are_nested_without_end_raise_nothing_whatever_this_python_can_read() -> None:
    channel = Channel()
    with channel.theirs as worker:
        worker.send(b'{"type":"imported","more":' + b"[" * 2000 + b"]" * 2000 + b"}")
        worker.send(encode(Imported()))
        assert channel.hear() in (None, Imported())
        assert channel.hear() == Imported()
    channel.close()
