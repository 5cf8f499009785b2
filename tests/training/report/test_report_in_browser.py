"""The page in a real browser: nothing is reported, every picture is shown, nothing is wider than a phone.

Takes the Chromium of Playwright or one that is installed; without any, the tests are skipped and say how to get one.
"""

import shutil

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="pip install playwright, then playwright install chromium"
)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        own = started.chromium.executable_path
        program = own if shutil.which(own) else next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            pytest.skip("no browser here: playwright install chromium, or apt-get install chromium")
        chromium = started.chromium.launch(executable_path=program)
        yield chromium
        chromium.close()


@pytest.fixture(params=[(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")], ids=str)
def opened(request, browser, published):
    """The page at a size and in a scheme, with what the browser had to say of it."""
    size, scheme = request.param
    context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
    page.goto((published.path / "report" / "index.html").as_uri())
    yield page, said
    context.close()


def test_the_page_is_shown_whole(opened):
    page, said = opened
    assert said == []
    images = page.evaluate("Array.from(document.images, image => [image.complete, image.naturalWidth])")
    assert len(images) > 10
    assert all(complete and width > 0 for complete, width in images)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    drawings = page.evaluate("Array.from(document.querySelectorAll('svg'), one => one.getBoundingClientRect().height)")
    assert len(drawings) > 5
    assert min(drawings) > 50


def test_light_and_dark_are_different_and_readable(browser, published):
    brightness = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((published.path / "report" / "index.html").as_uri())
        style = "getComputedStyle(document.querySelector('{}')).{}.match(/\\d+/g).map(Number)"
        ground, ink = (
            sum(page.evaluate(style.format(*one))) / 3 for one in (("body", "backgroundColor"), ("h1", "color"))
        )
        axis = sum(page.evaluate(style.format(".chart svg text", "fill"))) / 3
        assert abs(ground - ink) > 150
        assert abs(ground - axis) > 80
        brightness[scheme] = ground
        page.close()
    assert brightness["light"] > 200
    assert brightness["dark"] < 60


def test_the_page_can_be_printed(browser, published):
    page = browser.new_page()
    page.goto((published.path / "report" / "index.html").as_uri())
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    page.close()
