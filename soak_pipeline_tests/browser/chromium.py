"""Debian's Chromium, without a window and without a network, steered by Selenium.

Owns how it is started, its size and preferences, and what it says about a page: console, requests, computed styles.
Names resolve to nothing; only addresses of this machine can be reached.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from soak_pipeline_tests.waiting import PATIENCE_S

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
DRIVER = shutil.which("chromedriver") or ""
NOT_INSTALLED = "Chromium with its driver is not installed; install both (Debian: `chromium`, `chromium-driver`)"
MISSING = "" if BROWSER and DRIVER else NOT_INSTALLED

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Browser(Chrome):
    """Chromium with a few words of our own."""

    def size(self, width: int, height: int = 900, *, is_phone: bool = False) -> None:
        """The viewport in CSS pixels; a phone's obeys the page's own viewport and has a touch screen."""
        self.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone},
        )

    def prefer(self, **features: str) -> None:
        """Media features of the reader, such as `prefers_color_scheme="dark"`; `media="print"` is the medium."""
        medium = features.pop("media", "")
        values = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": values})

    def requested(self) -> list[str]:
        """Addresses that were asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith("chrome:")]

    def complaints(self) -> list[str]:
        """What stands in the console since the last time."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.get_log("browser")]

    def overflow_px(self) -> int:
        """By how much the page is wider than the viewport."""
        answer = self.execute_script(
            "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
        )
        return int(answer)

    def printed(self) -> bytes:
        """The page as PDF on A4, as a reader prints it: without backgrounds."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False}
        return base64.b64decode(self.execute_cdp_cmd("Page.printToPDF", size)["data"])

    def picture(self, path: Path, *, whole: bool = True) -> Path:
        """Writes the page as PNG: as long as it is, or as much as is in view."""
        height = self.execute_script("return document.documentElement.scrollHeight") if whole else 0
        width, view_height = self.execute_script("return [innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": max(height, view_height), "scale": 1}
        answer = self.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole, "clip": clip})
        path.write_bytes(base64.b64decode(answer["data"]))
        return path


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser that is ended with its driver.

    Args:
        profile: an empty folder of its own.
    """
    options = ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Browser(options=options, service=Service(executable_path=DRIVER))
    try:
        browser.set_page_load_timeout(PATIENCE_S)
        browser.set_script_timeout(PATIENCE_S)
        # The page that a new window shows asks for things of its own.
        browser.get("about:blank")
        browser.get_log("performance")
        yield browser
    finally:
        browser.quit()
