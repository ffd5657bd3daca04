"""HTTP calls to one server that may hang: one waits at a time, each has a deadline, after a failure there is a pause."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

DEADLINE_SECONDS = 60.0  # for a call as a whole, however slowly it is answered
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 5.0  # with another call that waits for the server
PACE_BYTES_PER_SECOND = 20_000.0  # of a download, over PATIENCE_SECONDS; it shows that the server answers
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0
NOT_ANSWERED = "an earlier call is not answered yet"


class CallRefused(httpx.PoolTimeout):
    """Error of a call that is not made now, or a download that ends, to keep away from a server that may hang."""


class Call:
    """A call under way. download: it may go on beside others as long as it keeps its pace. clock: in seconds."""

    def __init__(self, download: bool, clock: Callable[[], float]):
        self.download = download
        self._clock = clock
        self._since = self._alive = clock()
        self._bytes = 0
        self._answered = False

    def receive(self, num_bytes: int) -> bool:
        """Note received bytes; True if they show that the server answers, which a few bytes now and then do not."""
        now = self._clock()
        if now - self._since > PATIENCE_SECONDS:
            self._since, self._bytes = now, 0
        self._bytes += num_bytes
        if self._bytes < PACE_BYTES_PER_SECOND * PATIENCE_SECONDS:
            return False
        self._since, self._bytes, self._alive, self._answered = now, 0, now, True
        return True

    @property
    def silent_seconds(self) -> float:
        """Time since it began, or since it last kept its pace."""
        return self._clock() - self._alive

    @property
    def waits(self) -> bool:
        """True if the server may be hanging, as far as this call can tell."""
        return not self._answered or self.silent_seconds > PATIENCE_SECONDS


class Breaker:
    """Gate for the calls to a server that may hang.

    At most one call waits for the server; beside it, only downloads that keep their pace go on. After a failure, no call is
    made for 2 seconds at first, and for twice as long after each further failure. clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._until = self._pause = 0.0
        self._why = ""
        self._calls: list[Call] = []  # under way, the oldest first

    def refusal(self) -> str | None:
        """Reason not to call the server now; None if it may be called."""
        with self._lock:
            return self._refusal()

    def begin(self, download: bool = False) -> Call:
        """Begin a call, after a while if another one waits for the server; to be followed by ``end``. Raises CallRefused."""
        while True:
            with self._lock:
                if why := self._refusal():
                    raise CallRefused(why)
                waiting = [call for call in self._calls if call.waits]
                if not waiting:
                    self._calls.append(Call(download, self._clock))
                    return self._calls[-1]
                if self._pause or waiting[0].silent_seconds > PATIENCE_SECONDS:
                    raise CallRefused(NOT_ANSWERED)
            time.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raises CallRefused if the server is not to be called now, or a call has waited for a while."""
        with self._lock:
            if why := self._refusal():
                raise CallRefused(why)
            if any(call.silent_seconds > PATIENCE_SECONDS for call in self._calls):
                raise CallRefused(NOT_ANSWERED)

    def end(self, call: Call) -> None:
        """Note that a call has ended, in whatever way."""
        with self._lock:
            self._calls.remove(call)

    @contextmanager
    def downloading(self) -> Iterator[Callable[[int], None]]:
        """Context of a download, with a function to call with the number of bytes that were received, and every second with 0
        while there are none. It raises CallRefused if the download has to end, because another call waits as well."""
        call = self.begin(download=True)

        def received(num_bytes: int) -> None:
            if call.receive(num_bytes):
                self.succeed()
            elif call.silent_seconds > PATIENCE_SECONDS and self._others_wait(call):
                raise CallRefused("it sends too slowly, and another call is not answered yet")

        try:
            yield received
        finally:
            self.end(call)

    def fail(self, why: str) -> None:
        """Note a failure that another call would probably meet as well."""
        with self._lock:
            if self._until > self._clock():
                return  # a call that began before the one that failed first
            self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
            self._until, self._why = self._clock() + self._pause, why

    def succeed(self) -> None:
        """Note an answer."""
        with self._lock:
            self._until = self._pause = 0.0

    def _refusal(self) -> str | None:
        left = self._until - self._clock()
        return f"not asked again for {left:.0f} s, because: {self._why}" if left > 0 else None

    def _others_wait(self, download: Call) -> bool:
        """True if a call waits that goes before this download: one that is none, or an older one."""
        with self._lock:
            older = self._calls[: self._calls.index(download)]
            return any(call.waits and (call in older or not call.download) for call in self._calls if call is not download)


class OneCallClient(httpx.Client):
    """An HTTP client whose calls go through a breaker, and whose callers wait no longer than the deadline.

    A timeout of httpx is between two bytes: a server that sends one now and then holds its caller for ever. So each call has a
    thread of its own, which is left behind when its time is over; until it ends, further calls fail at once.
    """

    def __init__(self, breaker: Breaker, **given: Any):
        super().__init__(**given)
        self._breaker = breaker

    def send(self, request: httpx.Request, **given: Any) -> httpx.Response:
        """As httpx's. Raises httpx.ReadTimeout after the deadline, CallRefused."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        under_way = self._breaker.begin()
        ended = threading.Event()
        outcome: list[httpx.Response | BaseException] = []

        def call() -> None:
            try:
                outcome.append(super(OneCallClient, self).send(request, **given))
            except BaseException as error:
                outcome.append(error)
            finally:
                self._breaker.end(under_way)
                ended.set()

        threading.Thread(target=call, name="label-studio", daemon=True).start()
        if not ended.wait(max(0.0, deadline - time.monotonic())):
            raise httpx.ReadTimeout(f"no complete answer within {DEADLINE_SECONDS:g} s", request=request)
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]
