"""Makes the pictures of the README from a report: `make pictures`, after `make demo`.

Takes parts of the page as a browser shows them, each in 256 colours and at most 100 KB, so that the repository stays
small. Needs a Chromium: Playwright's own, or one that is installed.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH, TOP = 1170, 700
PARTS = {
    "classes": "#classes .parts",
    "layers": "#layers figure",
    "reasons": "#reasons figure",
}
MOST_BYTES = 100_000


def main() -> None:
    """Writes docs/images/*.png from the page that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a report's index.html")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    with sync_playwright() as started:
        program = shutil.which("chromium") or shutil.which("google-chrome")  # None is Playwright's own
        browser = started.chromium.launch(executable_path=program)
        page = browser.new_page(viewport={"width": WIDTH, "height": TOP})
        page.goto(arguments.page.resolve().as_uri())
        page.add_style_tag(content="nav { position: static !important }")  # else it lies over what is taken
        for name, picture in taken(page).items():
            write(arguments.out / f"report-{name}.png", picture)
        browser.close()


def taken(page: Page) -> dict[str, bytes]:
    """The top of the page, and the parts of it that the README shows."""
    parts = {name: page.locator(selector).first.screenshot() for name, selector in PARTS.items()}
    page.evaluate("scrollTo(0, 0)")
    return {"top": page.screenshot()} | parts


def write(path: Path, picture: bytes) -> None:
    """Writes a picture in 256 colours. Exits where it is larger than the README may have."""
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, but at most {MOST_BYTES:,} are meant")


if __name__ == "__main__":
    main()
