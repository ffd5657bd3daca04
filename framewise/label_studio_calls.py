"""HTTP calls to one server that may hang: one at a time, each with a deadline, and none for a while after a failure."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

DEADLINE_SECONDS = 60.0  # for a call as a whole, however slowly it is answered
POLL_SECONDS = 0.05
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 60.0


class OneCallClient(httpx.Client):
    """An HTTP client that is at its server with one thread at most, and whose callers wait no longer than the deadline.

    A timeout of httpx is between two bytes: a server that sends one now and then holds its caller for ever. So each call has a
    thread of its own, which is left behind when its time is over; until it ends, further calls fail at once.
    """

    def __init__(self, **given: Any):
        super().__init__(**given)
        self._free = threading.Lock()
        self._began = 0.0

    def send(self, request: httpx.Request, **given: Any) -> httpx.Response:
        """As httpx's. Raises httpx.ReadTimeout after the deadline, httpx.PoolTimeout while another call is not answered."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        if not self._begin(deadline):
            raise httpx.PoolTimeout("an earlier call is not answered yet", request=request)
        ended = threading.Event()
        outcome: list[httpx.Response | BaseException] = []

        def call() -> None:
            try:
                outcome.append(super(OneCallClient, self).send(request, **given))
            except BaseException as error:
                outcome.append(error)
            finally:
                self._free.release()
                ended.set()

        threading.Thread(target=call, name="label-studio", daemon=True).start()
        if not ended.wait(max(0.0, deadline - time.monotonic())):
            raise httpx.ReadTimeout(f"no complete answer within {DEADLINE_SECONDS:g} s", request=request)
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _begin(self, deadline: float) -> bool:
        """Wait for the call before this one, but not for one whose time is over."""
        while not self._free.acquire(timeout=POLL_SECONDS):
            now = time.monotonic()
            if now > deadline or now - self._began > DEADLINE_SECONDS:
                return False
        self._began = time.monotonic()
        return True


class Breaker:
    """Keeps calls away from a server that failed, for 2 seconds at first, and for twice as long after each further failure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._until = self._pause = self._tried_until = 0.0
        self._why = ""

    def refusal(self) -> str | None:
        """Reason not to call the server now; None if it may be called."""
        with self._lock:
            left = self._until - self._clock()
            return f"not asked again for {left:.0f} s, because: {self._why}" if left > 0 else None

    def try_again(self) -> bool:
        """True if a long call may begin. After a failure, one at a time may, to find out if the server answers again.

        To be followed by ``tried``."""
        with self._lock:
            if self._pause and self._clock() < self._tried_until:
                return False
            self._tried_until = self._clock() + DEADLINE_SECONDS  # one that is answered for longer is proof enough
            return True

    def tried(self) -> None:
        """Note that a long call has ended."""
        with self._lock:
            self._tried_until = 0.0

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
