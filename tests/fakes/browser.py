"""Debian's chromium without a window, driven over a pipe by its own protocol (CDP): no library is needed."""

import base64
import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE_S = 60.0
"""It only ends a test that hangs."""


class Browser:
    """`with Browser(folder) as browser:` has one page. `faults` is what the page complained of."""

    def __init__(self, folder: Path, *, width: int = 1320, height: int = 900, dark: bool = False) -> None:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        assert found, "this test needs chromium: apt install chromium"
        theirs, self._write = os.pipe()
        self._read, ours = os.pipe()
        words = [
            found, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
            f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        command = f"exec {shlex.join(words)} 3<&{theirs} 4>&{ours}"
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(theirs, ours), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(ours)
        self._number, self._session, self._buffer = 0, "", b""
        self.faults: list[str] = []
        self._size, self._dark = (width, height), dark

    def __enter__(self) -> "Browser":
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)

    def cookie(self, url: str, name: str, value: str) -> None:
        """Give the browser a cookie."""
        self.ask("Network.setCookie", url=url, name=name, value=value, httpOnly=True, sameSite="Strict")

    def go(self, url: str) -> None:
        """Open an address, and wait until it is loaded."""
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Return what a script evaluates to."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until a script says true."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < end, f"it never became so: {script}"
            time.sleep(0.1)

    def picture(self, *, whole: bool = False) -> bytes:
        """Return a PNG of the window, or of the whole page."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer of the browser to one command of its protocol."""
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._write, json.dumps(said).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        facts = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(str(facts["exceptionDetails"].get("exception", {}).get("description")))
        elif message.get("method") == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.faults.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message
