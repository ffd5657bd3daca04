"""People at the page /sync without a browser, and recordings that it can put on one clock."""

import re
import time
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from tests.sync_help import Filmed

SCENE_START = 95  # seconds of the scene from which on there is something to hear
COMPARE = {"method": "audio", "max_offset": "20", "minimum_confidence": "0.2", "reference": "1"}


class Heard(Filmed):
    """With a sound that never repeats: bursts of noise at odd times."""

    def sound(self) -> np.ndarray:
        assert self.sample_rate
        random, rate = np.random.default_rng(7), self.sample_rate
        scene = np.zeros(25 * rate, dtype=np.float32)
        burst = np.exp(-np.arange(rate // 4) / (0.05 * rate))
        for at in np.cumsum(random.uniform(0.15, 0.7, 50)):
            first = int(at * rate)
            part = scene[first : first + len(burst)]
            part += (0.2 * burst * random.standard_normal(len(burst)))[: len(part)].astype(np.float32)
        first = round((self.start - SCENE_START) * rate)
        return scene[first : first + round(self.seconds * rate)].clip(-1, 1)


@dataclass
class Person:
    """Somebody with a browser's cookie and token, without a browser."""

    client: httpx.Client
    token: str

    @classmethod
    def comes(cls, url: str) -> "Person":
        # A connection for each request: a kept one may be closed by the server, after some idle seconds, just when it is used.
        limits = httpx.Limits(max_keepalive_connections=0)
        client = httpx.Client(base_url=url, headers={"Accept": "application/json"}, timeout=60, limits=limits)
        token = re.search(r'name="token" value="([^"]+)"', client.get("/sync", headers={"Accept": "text/html"}).text)
        assert token
        return cls(client, token[1])

    def post(self, path: str, **form: str) -> httpx.Response:
        return self.client.post(path, data={"token": self.token, **form})

    def begins(self) -> str:
        answer = self.post("/sync")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def uploads(self, session: str, name: str, content: bytes) -> httpx.Response:
        headers = {"X-Form-Token": self.token}
        return self.client.post(f"{session}/recordings", params={"name": name}, content=content, headers=headers)

    def waits(self, session: str) -> dict[str, Any]:
        for _ in range(1200):
            state = self.client.get(f"{session}/state.json").json()
            if state["state"] not in ("waiting", "running"):
                return dict(state)
            time.sleep(0.1)
        raise AssertionError(state)
