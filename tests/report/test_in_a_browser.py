"""The page in a real browser, where one is installed: tables sort, filter and are saved; nothing sticks out."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from consort.report import render

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


def seen(page, script, tmp_path, width=1400):
    """What a script makes of the page: its last value, by the page's title. The page's policy is lifted for it."""
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    told = f"<script>document.title = JSON.stringify((() => {{ {script} }})());</script></body>"
    file = tmp_path / "page.html"
    file.write_text(free.replace("</body>", told), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000", "--dump-dom"]
    shown = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown, re.DOTALL)[1]))


TABLE = 'const table = document.querySelector("table[data-name=systems]");'


def test_a_click_sorts_and_a_word_filters(run_json, write, tmp_path):
    page = render(write(run_json))
    script = f"""{TABLE}
    const names = () => [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[0].dataset.csv);
    const score = table.tHead.rows[0].cells[1].querySelector("button");
    const best = names()[0];
    score.click(); const down = names(); score.click(); const up = names();
    const word = table.parentElement.previousElementSibling.querySelector("input");
    word.value = "yell"; word.dispatchEvent(new Event("input"));
    return [best, down[0], up.at(-1), names(), table.tHead.rows[0].cells[1].getAttribute("aria-sort")];"""
    best, first, last, filtered, order = seen(page, script, tmp_path)
    assert best == first == last == "ties(density 0.2, lambda 2)"
    assert filtered == ["expert-yell"] and order == "ascending"


def test_what_is_saved_is_csv_without_formulas(run_json, write, tmp_path):
    run_json["test"][0]["model"] = run_json["singles"][0]["model"] = '=1+"x",2'
    script = f"""{TABLE}
    let saved = ""; window.Blob = class {{ constructor(parts) {{ saved = parts.join(""); }} }};
    URL.createObjectURL = () => "blob:x"; HTMLAnchorElement.prototype.click = function () {{ saved += this.download; }};
    table.parentElement.previousElementSibling.querySelector("button").click(); return saved;"""
    saved = seen(render(write(run_json)), script, tmp_path)
    assert saved.startswith('\ufeff"system","exact_match"') and saved.endswith("systems.csv")
    assert """\r\n"'=1+""x"",2",""" in saved and '"ties(density 0.2, lambda 2)","0.' in saved


@pytest.mark.parametrize("width", [1400, 800, 500])
def test_nothing_sticks_out(run_json, write, tmp_path, width):
    script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth];"
    whole, shown = seen(render(write(run_json)), script, tmp_path, width)
    assert whole <= shown


def test_nothing_sticks_out_of_a_phone(run_json, write, tmp_path):
    page = render(write(run_json)).replace("<body>", '<body style="width: 400px">')
    script = """const wide = [...document.querySelectorAll("header, main, footer, section, .card, .tiles > div, nav")]
      .filter(e => e.getBoundingClientRect().right > 400.5).map(e => e.className || e.tagName); return wide;"""
    assert seen(page, script, tmp_path) == []
