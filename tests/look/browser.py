"""A browser without a window, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files")
_SETTLES_SECONDS = 0.6


class BrowserMissing(Exception):
    """There is no browser on this machine."""


class Browser:
    """One page at a time."""

    def __init__(self) -> None:
        found = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
        if found is None:
            raise BrowserMissing("there is no chromium: apt-get install chromium")
        # The browser reads from 3 and writes to 4; both ends of ours lie well above.
        (theirs_in, self._out), (ours_in, theirs_out) = (tuple(map(_above, os.pipe())) for _ in range(2))
        self._process = subprocess.Popen(
            [found, *_FLAGS, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=lambda: (os.dup2(theirs_in, 3), os.dup2(theirs_out, 4)),  # noqa: PLW1509 - no threads here
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._read, self._number = os.fdopen(ours_in, "rb", 0), b"", 0
        self._session: str | None = None
        pages = [one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self._call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]

    def open(self, page: Path, width: int, *, dark: bool = False, pictures: bool = True, styles: bool = True) -> None:
        """Show a page as a screen of that width does; without `styles` as a program that drops the style block."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Network.enable")
        self._call("Network.setBlockedURLs", urls=[] if pictures else ["*.png"])
        self._call("Page.enable")
        self._call("Page.navigate", url=page.as_uri())
        time.sleep(_SETTLES_SECONDS)
        if not styles:
            self.evaluate("document.querySelectorAll('style').forEach(one => one.remove())")

    def picture(self, path: Path) -> int:
        """Keep what is shown, all of it, as PNG; returns how wide it is."""
        width = int(self.evaluate("document.documentElement.scrollWidth"))
        height = int(self.evaluate("Math.ceil(document.documentElement.getBoundingClientRect().height)"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        told = self._call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(told["data"]))
        return width

    def evaluate(self, script: str) -> Any:
        """Run a script in the page and return what it comes to."""
        told = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(told["exceptionDetails"])
        return told["result"].get("value")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        os.close(self._out)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(told["error"])
                result: dict[str, Any] = told["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            self._read += self._in.read(1 << 20)
        message, self._read = self._read.split(b"\0", 1)
        told: dict[str, Any] = json.loads(message)
        return told


def _above(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return moved
