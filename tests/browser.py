"""A page in headless Chromium, worked by real key presses (its DevTools protocol over a pipe)."""

import json
import os
import shutil
import subprocess
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    " ": (32, " "),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
    "Home": (36, ""),
    "End": (35, ""),
}


class Browser:
    """One page at one width; a context manager."""

    def __init__(self, uri: str, *, width: int, profile: os.PathLike[str]) -> None:
        down, self._ours = os.pipe()
        theirs, up = os.pipe()
        # The protocol is read from descriptor 3 and written to 4.
        command = f'exec "$0" "$@" 3<&{down} 4>&{up}'
        self._process = subprocess.Popen(
            [
                *("bash", "-c", command, str(CHROMIUM), "--headless", "--no-sandbox"),
                *("--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
            ],
            pass_fds=(down, up),
            stderr=subprocess.DEVNULL,
        )
        os.close(down)
        os.close(up)
        self._replies = os.fdopen(theirs, "rb")
        self._rest, self._number = b"", 0
        self._session: str | None = None
        self.errors: list[Any] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=uri)
        while self.value("document.readyState") != "complete" or self.value(
            "location.href == 'about:blank'"
        ):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._replies.close()
        os.close(self._ours)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer of a method of the protocol; what the console says is kept in `errors`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._ours, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                got = os.read(self._replies.fileno(), 2**16)
                assert got, "chromium ended"
                self._rest += got
            text, _, self._rest = self._rest.partition(b"\0")
            reply = json.loads(text)
            if reply.get("method") in (
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
                "Page.javascriptDialogOpening",
            ):
                self.errors.append(reply["params"])
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return dict(reply["result"])

    def value(self, expression: str) -> Any:
        """Of JavaScript in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, *, times: int = 1, shift: bool = False) -> None:
        """A key of `KEYS` or a letter."""
        code, text = KEYS.get(key) or (ord(key.upper()), key)
        pressed = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        for _ in range(times):
            kind = {"text": text} if text else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **kind)
            self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def tab_to(self, expression: str) -> None:
        """Press Tab until an expression about `document.activeElement`, as `it`, is true."""
        for _ in range(300):
            self.press("Tab")
            if self.value(f"(it => {expression})(document.activeElement)"):
                return
        raise AssertionError(f"Tab never reaches {expression}")
