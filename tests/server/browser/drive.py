"""Uses the page as a person would, by keyboard, in four sizes; run by the Python of an environment with playwright."""

import json
import sys

from playwright.sync_api import sync_playwright

URL, BROWSER, EVIL, SHOTS = sys.argv[1:5]
SIZES = ((400, 800, "light"), (768, 1024, "dark"), (1280, 800, "light"), (1920, 1080, "dark"))
seen = {"titles": set(), "errors": [], "widths": [], "scripts": 0, "images": 0, "answer": "", "tokens": 0, "squares": 0}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])

    def shoot(page, name):
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/{name}.png")

    for width, height, scheme in SIZES:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        page.on("pageerror", lambda error: seen["errors"].append(str(error)))
        page.goto(f"{URL}/#team,cascade,documents")
        page.wait_for_selector(".column:nth-child(2)", state="attached")
        page.focus("#prompt")
        page.keyboard.insert_text(EVIL)
        page.keyboard.press("Enter")
        for number in (1, 2, 3):
            page.wait_for_selector(f".column:nth-child({number}) .facts", state="attached", timeout=60_000)
        seen["answer"] = page.locator(".column:nth-child(2) .turn:not(.mine) .said").inner_text()
        page.wait_for_selector("#send:not([disabled])")
        shoot(page, f"{width}-{scheme}-chat")
        page.focus("#tab-chat")
        page.keyboard.press("ArrowRight")
        page.focus("#prompt")
        page.keyboard.insert_text("abc")
        page.keyboard.press("Enter")
        page.wait_for_selector(".token", timeout=60_000)
        page.focus(".token")
        page.keyboard.press("ArrowRight")
        seen["tokens"] = page.locator(".token").count()
        shoot(page, f"{width}-{scheme}-tokens")
        page.focus("#tab-tokens")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".tree")
        shoot(page, f"{width}-{scheme}-plan")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".square", timeout=120_000)
        seen["squares"] = page.locator(".square").count()
        shoot(page, f"{width}-{scheme}-zoo")
        seen["titles"].add(page.title())
        seen["scripts"] = max(seen["scripts"], page.locator("script").count())
        seen["images"] += page.locator("body img").count()
        seen["widths"].append((width, page.evaluate("() => document.documentElement.scrollWidth")))
        context.close()
    browser.close()
seen["titles"] = sorted(seen["titles"])
print(json.dumps(seen))
