"""The live page in a headless Chromium, on a phone and on a desktop, with the ECG demo. Screenshots
go to build/…/page-screenshots."""

import pathlib
import shutil
import urllib.request

import pytest

from xst_tool import BIN, good

if shutil.which("chromium") is None:
    pytest.skip("no chromium", allow_module_level=True)
from browser import Browser  # noqa: E402

ECG = pathlib.Path(__file__).resolve().parents[2] / "apps/demos/ecg"
SHOTS = BIN.parent / "page-screenshots"
LOOK = [("desktop", 1280, 800, False, "dark"), ("desktop-light", 1280, 800, False, "light"),
        ("phone", 390, 844, True, "dark"), ("phone-light", 390, 844, True, "light")]

# Whether a canvas has as many colours as traces and bands give it, not an empty frame.
COLOURS = """[...document.querySelectorAll('canvas')].map((c) => {
  const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
  return seen.size;
})"""


@pytest.fixture(scope="module")
def browser():
    b = Browser()
    yield b
    b.close()


@pytest.fixture
def ecg(daemon, tmp_path):
    good("pack", ECG / "model", "-o", tmp_path / "ecg.xst")
    return daemon('publish: {endpoint: "tcp://127.0.0.1:*"}\nhttp: {endpoint: "127.0.0.1:*"}\nstreams:\n'
                  f'  - {{name: ecg, model: ecg.xst, source: {{type: replay, file: "{ECG / "ecg.csv"}"}}}}\n'
                  '  - {name: other, model: ecg.xst, source: {type: pull, endpoint: "tcp://127.0.0.1:*"}}\n')


@pytest.mark.parametrize("name,width,height,mobile,scheme", LOOK)
def test_page_draws_the_stream(browser, ecg, name, width, height, mobile, scheme):
    url = f"http://127.0.0.1:{ecg.port}/"
    browser.open(url, width, height, mobile, scheme)
    data = "document.documentElement.dataset"
    browser.wait(f"{data}.state === 'live' && {data}.points > 1000 && {data}.frames > 20")
    browser.wait("document.querySelector('#counts dd')?.textContent.replace(',', '') > 1500")
    assert browser.evaluate(data + ".theme") == scheme
    colours = browser.evaluate(COLOURS)
    assert len(colours) == 4 and min(colours) > 8, colours  # ecg, surprise, beat, step times
    titles = browser.evaluate("[...document.querySelectorAll('figure h2')].map((h) => h.textContent)")
    assert titles == ["ecgmV", "surprisenat", "beat"]
    assert browser.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    SHOTS.mkdir(exist_ok=True)
    browser.screenshot(SHOTS / f"{name}.png")
    assert browser.problems() == []
    assert all(r.startswith((url, "data:")) for r in browser.requests()), browser.requests()


def test_classes_show_which_is_likeliest(browser, daemon, tmp_path):
    motion = ECG.parent / "motion"
    good("pack", motion / "model", "-o", tmp_path / "motion.xst")
    text = (motion / "xstd.yaml").read_text().replace("test.csv, speed: 1", f"{motion}/test.csv, speed: 8")
    running = daemon(text.replace("tcp://127.0.0.1:9872", "tcp://127.0.0.1:*").replace("127.0.0.1:9873", "127.0.0.1:*"))
    browser.open(f"http://127.0.0.1:{running.port}/", 1280, 800)
    titles = "[...document.querySelectorAll('figure h2')].map((h) => h.textContent)"
    browser.wait(f"{titles}.join() === 'inputs,class' && document.documentElement.dataset.points > 500")
    legend = "[...document.querySelectorAll('figure:nth-child(2) .legend button')]"
    browser.evaluate("document.getElementById('pause').click()")
    browser.wait(f"{legend}.some((b) => b.classList.contains('likeliest'))")
    values = browser.evaluate(
        legend + ".map((b) => [b.classList.contains('likeliest'), +b.querySelector('b').textContent])")
    assert len(values) == 4 and sum(likeliest for likeliest, _ in values) == 1
    assert max(values, key=lambda v: v[1])[0] and abs(sum(p for _, p in values) - 1) < 0.01, values
    assert browser.evaluate(COLOURS)[1] > 4
    SHOTS.mkdir(exist_ok=True)
    browser.screenshot(SHOTS / "classes.png")
    assert browser.problems() == []


def test_controls_and_a_second_stream(browser, ecg):
    browser.open(f"http://127.0.0.1:{ecg.port}/#ecg", 1280, 800)
    data = "document.documentElement.dataset"
    browser.wait(f"{data}.state === 'live'")
    browser.evaluate("document.getElementById('pause').click()")
    browser.wait(f"{data}.state === 'paused'")
    browser.evaluate("document.getElementById('pause').click()")
    browser.wait(f"{data}.state === 'live'")
    legend = "document.querySelector('.legend button:nth-child(2)')"
    browser.evaluate(legend + ".click()")
    assert browser.evaluate(legend + ".getAttribute('aria-pressed')") == "false"
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate(data + ".theme") == "light"
    browser.evaluate("document.querySelectorAll('#streams button')[1].click()")
    browser.wait(f"{data}.state === 'waiting' && location.hash === '#other'")
    assert browser.problems() == []


def test_the_ninth_page_waits_and_says_so(browser, ecg):
    url = f"http://127.0.0.1:{ecg.port}/"
    viewers = [urllib.request.urlopen(url + "events") for _ in range(8)]
    browser.open("about:blank", 390, 844, True)
    browser.open(url, 390, 844, True)
    browser.wait("document.documentElement.dataset.state === 'full'")
    assert "Eight pages" in browser.evaluate("document.getElementById('notice').textContent")
    for v in viewers:
        v.close()
    browser.wait("document.documentElement.dataset.state === 'live'")


def test_a_daemon_that_went_away_is_seen(browser, ecg):
    browser.open(f"http://127.0.0.1:{ecg.port}/", 1280, 800)
    browser.wait("document.documentElement.dataset.state === 'live'")
    ecg.process.kill()
    browser.wait("document.documentElement.dataset.state === 'offline'")
