"""Uploads that share a limit, on a clock that only they move."""

from io import BytesIO

from edgewright.deploy.rate import RateLimit


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_an_upload_takes_its_time_and_is_whole() -> None:
    clock = Clock()
    content = bytes(range(256)) * 40
    stream = RateLimit(1024, clock=clock, sleep=clock.sleep).slow(BytesIO(content))

    parts = list(iter(lambda: stream.read(4096), b""))

    assert b"".join(parts) == content
    assert max(map(len, parts)) <= 1024
    assert 9 <= clock.seconds - 100 <= 10.1


def test_two_uploads_share_a_limit() -> None:
    clock = Clock()
    limit = RateLimit(1000, clock=clock, sleep=clock.sleep)
    streams = [limit.slow(BytesIO(bytes(5000))) for _ in range(2)]

    count = 0
    while part := streams[0].read(4096) + streams[1].read(4096):
        count += len(part)

    assert count == 10_000
    assert 9 <= clock.seconds - 100 <= 10.1


def test_time_in_which_nothing_was_sent_is_not_saved_up() -> None:
    clock = Clock()
    limit = RateLimit(1000, clock=clock, sleep=clock.sleep)
    clock.seconds += 3600
    limit.take(1000)
    limit.take(1000)

    assert clock.seconds - 3700 >= 1
