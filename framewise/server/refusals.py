"""Refused requests: counted in memory, logged once a minute, and shown at /jobs if a user may have caused them.

Anyone can send any number of requests that are refused, so they must cost almost nothing.
"""

import logging
import threading
import time
from collections import Counter

from framewise.store.job_state import JobStates

logger = logging.getLogger(__name__)

QUIET_SECONDS = 60.0  # between two log lines of a reason, and between two rows of a route
KIND = "request"  # of the rows at /jobs


class Refusals:
    """Refused requests of one process. counts: by reason, such as "password" or "foreign page"."""

    def __init__(self, states: JobStates):
        self.counts: Counter[str] = Counter()
        self._states = states
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}  # when a reason was logged, or a row of a route written
        self._logged: Counter[str] = Counter()
        self._answered: set[str] = set()

    def refuse(self, reason: str, message: str, route: str | None) -> None:
        """Count a refused request. route: None for a path at which people would see the refusal themselves, or nothing is."""
        with self._lock:
            self.counts[reason] += 1
            number = self.counts[reason] - self._logged[reason] if self._is_due(reason) else 0
            self._logged[reason] += number
            shown = route if route is not None and self._is_due(route) else None
            self._answered.discard(shown or "")
        if number:
            logger.warning("%d request%s refused (%s), the last one: %s", number, "s" * (number != 1), reason, message)
        if shown:
            self._states.forget_failures(KIND, _begins(shown))
            self._states.record_failures(KIND, "", [(None, f"{_begins(shown)}{message}")])

    def answer(self, route: str) -> None:
        """Note that a request to a route was let in: what was shown of it is no longer true."""
        with self._lock:
            if route in self._answered:
                return
            self._answered.add(route)
        self._states.forget_failures(KIND, _begins(route))

    def _is_due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._told.get(what, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._told[what] = now
        return True


def _begins(route: str) -> str:
    """The beginning of a route's row."""
    return f"refused: {route}: "
