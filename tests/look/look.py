"""Look at the reports: pictures of each, wide and narrow, light and dark, bare; and what axe-core says of them.

    make look       writes build/look; needs chromium (apt-get install chromium) and axe-core (npm install axe-core)

Exit status: 0 no page breaks WCAG A or AA or is wider than its screen; 1 one does; 2 something is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.look.browser import Browser, BrowserMissing
from ticket_system.reports.contents import Weekly
from ticket_tasks.digest import chart, letter, samples
from ticket_tasks.toolbox import Stationery

OUT = Path("build/look").resolve()
AXE = Path("node_modules/axe-core/axe.min.js")
PAPER = Stationery(
    ticket_url="https://desk.example.com/tickets/{id}",
    postal_address="Initech, 4120 Freidrich Lane, Austin",
    unsubscribe_address="leave@example.com",
)
RULES = "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa']"
RUN = (
    f"axe.run(document,{{runOnly:{{type:'tag',values:{RULES}}}}})"
    ".then(found => found.violations.map(one => one.id + ': ' + one.nodes[0].html.slice(0, 120)))"
)


def write_pages() -> list[Path]:
    """Write every sample as a page with its picture beside it."""
    OUT.mkdir(parents=True, exist_ok=True)
    pages = []
    for name in samples.NAMES:
        content, reader = samples.sample(name)
        picture = chart.draw(content) if isinstance(content, Weekly) else None
        one = letter.write(
            content, reader, PAPER, key="look", at=content.as_of, picture=picture,
            unsubscribe_url="https://desk.example.com/unsubscribe/token",
        )  # fmt: skip
        page = OUT / f"{name}.html"
        page.write_text((one.html or "").replace(f"cid:{chart.NAME}", f"{name}-curve.png"), "utf-8")
        if picture is not None:
            (OUT / f"{name}-curve.png").write_bytes(picture)
        pages.append(page)
    return pages


def main() -> int:
    """Take the pictures, and say what is wrong."""
    if not AXE.exists():
        print(f"{AXE} is missing: npm install axe-core", file=sys.stderr)
        return 2
    axe, wrong = AXE.read_text("utf-8"), 0
    try:
        browser = Browser()
    except BrowserMissing as error:
        print(error, file=sys.stderr)
        return 2
    with browser:
        for page in write_pages():
            for width in (640, 375):
                for dark in (False, True):
                    browser.open(page, width, dark=dark)
                    name = f"{page.stem}-{width}-{'dark' if dark else 'light'}"
                    seen = browser.picture(OUT / f"{name}.png")
                    browser.evaluate(axe)
                    found = [f"{seen} pixels wide"] if seen > width else []
                    found += browser.evaluate(RUN)
                    wrong += len(found)
                    print(f"{name}: {'; '.join(found) or 'well'}")
            browser.open(page, 375, pictures=False, styles=False)
            browser.picture(OUT / f"{page.stem}-375-bare.png")
            browser.open(page, 640, pictures=False)
            browser.picture(OUT / f"{page.stem}-640-without-pictures.png")
    print(f"pictures: {OUT}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
