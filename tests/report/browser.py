"""Headless Chromium, driven over a pipe by its DevTools protocol: no driver, no port, no network."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_AT_3_AND_4 = """
import fcntl, os, sys
# Chromium reads commands from descriptor 3 and answers on 4
commands, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_chromium() -> str | None:
    """Where a Chromium is; None: nowhere."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium.

    Parameters
    ----------
    path
        The program.
    profile
        A folder for its files.

    Attributes
    ----------
    requests
        Addresses that pages asked for.
    said
        What they wrote to the console, and violations of their policy.
    """

    def __init__(self, path: str, profile: Path) -> None:
        from_test, to_browser = os.pipe()
        from_browser, to_test = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command = [
            sys.executable,
            "-c",
            _AT_3_AND_4,
            str(from_test),
            str(to_test),
            path,
            *options,
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(command, pass_fds=(from_test, to_test), stderr=subprocess.DEVNULL)
        os.close(from_test)
        os.close(to_test)
        self._out, self._in = os.fdopen(to_browser, "wb", buffering=0), os.fdopen(from_browser, "rb")
        self._number, self._rest = 0, b""
        self.requests: list[str] = []
        self.said: list[str] = []
        self._events: list[str] = []
        self._session: str | None = None
        # a page of our own: that which is there may be loading things of the browser
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._out.close()
        self._in.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something, and wait for the answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found["error"]
                return dict(found["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._in.fileno(), 1 << 16)
            assert data, "the browser is gone"
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        method, told = found.get("method"), found.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.said.append(json.dumps(told))
        elif method is not None:
            self._events.append(method)
        return found

    def open(self, path: Path) -> None:
        """Go to a page, and wait until it is there."""
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._next()

    def look(self, width: int, scheme: str = "light") -> None:
        """Set the width of the window, and whether its user likes it dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def ask(self, expression: str) -> Any:
        """The value of JavaScript."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, expression: str) -> None:
        """A click of the mouse in the middle of an element."""
        self.ask(f"({expression}).scrollIntoView({{block: 'center'}})")
        x, y = self.ask(
            f"(() => {{const r = ({expression}).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]}})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        """A key, such as Enter (13), at what has the focus."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))
