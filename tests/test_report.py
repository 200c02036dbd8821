"""`report.html`: the numbers and pictures of a run in one page that loads nothing."""

import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from PIL import Image

from evaluation.reports.comparison_page import comparison_page
from evaluation.reports.subjects import Subject
from evaluation.reports.summary import Run, rows
from tests.support.commands import ROOT
from tests.support.tiny import tiny_config
from vaegan.commands import train as train_command
from vaegan.commands.checkpoint.main import main
from vaegan.recipes import recipe_config
from vaegan.report import embedded, written
from vaegan.report.page import Chart, Charts, Curve, Facts, Page, Section, Text
from vaegan.report.render import as_html, as_plotly
from vaegan.report.run_page import run_page
from vaegan.run.run_folder import RunFolder

CHROMIUM = shutil.which("chromium")
HOSTILE = "<img src=x onerror=alert(1)>&\"'</script><script>alert(2)</script>"
METRICS = {"loss/prior": 20.0, "loss/gan": 1.4, "loss/pixel_mse": 0.2, "dis/gen": 0.5}


class Elements(HTMLParser):
    """The elements of a page, without the text of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def data_of(html: str) -> list[Any]:
    """What the page's blocks of JSON hold."""
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', html, flags=re.DOTALL)
    return [json.loads(block) for block in blocks]


def figures(html: str) -> list[dict[str, Any]]:
    return [block for block in data_of(html) if "data" in block]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def made_up(tmp_path: Path) -> RunFolder:
    """A run of 40 lines of metrics, two evaluations and three pictures, without any training."""
    folder = RunFolder(tmp_path / "made-up")
    config = tiny_config(eval_every=20, eval_extractor="efficientnet-lite0")
    folder.create(config, {"torch": "2.14", "training_images": 4500, "steps": 400, "processes": 1})
    with folder.metrics_file.open("w") as file:
        for step in range(10, 401, 10):
            row = {"step": step, "images_seen": 8 * step}
            file.write(json.dumps({**row, **METRICS, "speed/training_seconds": step / 4}) + "\n")
            if step % 200 == 0:
                file.write(json.dumps({**row, "eval/fd": step / 10, "eval/kd": 0.1}) + "\n")
    for step in (0, 200, 400):
        for kind in (folder.samples, folder.reconstructions):
            Image.new("RGB", (34, 34), (step // 2, 0, 0)).save(kind / f"step-{step:08d}.png")
    return folder


def test_a_run_ends_with_a_page_that_has_the_points_of_its_metrics(tiny_run: Path) -> None:
    folder = tiny_run / "out"
    recorded = lines(folder)
    html = (folder / "report.html").read_text()
    drawn = {figure["layout"]["yaxis"]["title"]["text"]: figure["data"] for figure in figures(html)}
    [prior] = drawn["KL, nats per image"]
    assert prior["x"] == [row["step"] for row in recorded]
    assert prior["y"] == [row["loss/prior"] for row in recorded]
    shown = [y for figure in figures(html) for trace in figure["data"] for y in trace["y"]]
    for name, value in recorded[-1].items():
        if name not in ("step", "images_seen", "epoch", "step/skipped", "speed/training_seconds"):
            assert value in shown, f"{name} is in no chart"
    assert html.count("data:image/webp;base64,") >= 4, "two pictures of both kinds"


def test_every_axis_has_the_points_of_the_metrics_file(made_up: RunFolder) -> None:
    html = as_html(run_page(made_up))
    [figure] = [f for f in figures(html) if f["data"][0]["name"].startswith("KL")]
    recorded = [row for row in lines(made_up.root) if "loss/prior" in row]
    axes = figure["axes"][0]
    assert axes["step"] == [row["step"] for row in recorded]
    assert axes["images"] == [row["images_seen"] for row in recorded]
    assert axes["seconds"] == [row["speed/training_seconds"] for row in recorded]
    [evaluated] = [f for f in figures(html) if f["data"][0]["name"] == "FD"]
    assert evaluated["axes"][0]["seconds"] == [50.0, 100.0], "as the lines beside them"
    assert evaluated["data"][0]["y"] == [20.0, 40.0]
    for each in figures(html):
        go.Figure({"data": each["data"], "layout": each["layout"]})  # refuses what is unknown


def test_the_page_has_what_the_run_was_and_what_became_of_it(made_up: RunFolder) -> None:
    html = as_html(run_page(made_up))
    assert "Best: 20 at step 200" in html
    assert "efficientnet-lite0" in html
    assert "<strong>--latent-size</strong>" in html, "not the recipe's"
    assert "<dt>torch</dt><dd>2.14</dd>" in html
    with made_up.metrics_file.open("a") as file:
        bad = {"step": 1700, "images_seen": 13_600, "loss/prior": 0.5, "step/skipped": 3.0}
        file.write(json.dumps(bad) + "\n")
    html = as_html(run_page(made_up))
    assert "The posterior has collapsed: at step 1,700" in html
    assert "3 steps had gradients that were not finite" in html


def test_nothing_is_loaded_from_elsewhere(made_up: RunFolder) -> None:
    elements = Elements(as_html(run_page(made_up)))
    assert len(elements.found) > 100
    for tag, attributes in elements.found:
        assert tag not in ("iframe", "object", "embed", "base", "form"), tag
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    [policy] = [a["content"] for t, a in elements.found if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy
    own = "".join((ROOT / "vaegan/report" / name).read_text() for name in ("page.css", "page.js"))
    assert "url(" not in own
    assert "@import" not in own
    assert "fetch(" not in own


def test_names_of_the_users_are_text(made_up: RunFolder) -> None:
    chart = Chart(HOSTILE, HOSTILE, [Curve(HOSTILE, {"step": [1]}, [1])])
    section = Section(HOSTILE, [Text([HOSTILE]), Facts({HOSTILE: HOSTILE}), Charts([chart])])
    page = Page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [section], {"step": "step"})
    html = as_html(page)
    before_library = html.partition("plotly.js v")[0]
    assert before_library.count("alert(2)") > 5
    assert "<img src=x" not in html
    assert "</script><script>alert(2)" not in html
    assert not [a for t, a in Elements(html).found if t == "img"]
    assert "<" not in as_plotly(chart)["data"][0]["name"], "plotly reads tags in its texts"


def test_pictures_are_thinned_evenly_to_what_a_file_may_weigh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Image.effect_noise((40, 40), 90)
    files = {}
    for step in range(0, 1000, 10):
        files[step] = tmp_path / f"{step}.png"
        grid.resize((120, 120), Image.Resampling.NEAREST).save(files[step])
    (tmp_path / "990.png").write_bytes(b"no picture")
    steps, uris = embedded.moments_that_fit(list(files), {"samples": files})
    assert len(steps) == embedded.MOST_MOMENTS
    assert (steps[0], steps[-1]) == (0, 990)
    assert set(map(int.__sub__, steps[1:], steps)) <= {20, 30}
    assert uris["samples"][-1] is None
    alone = len(uris["samples"][0] or "")
    monkeypatch.setattr(embedded, "MOST_BYTES", 5 * alone)
    steps, uris = embedded.moments_that_fit(list(files), {"samples": files})
    assert sum(len(uri or "") for uri in uris["samples"]) <= 5 * alone
    assert 4 <= len(steps) <= 6
    assert (steps[0], steps[-1]) == (0, 990)


def test_embedded_pictures_are_those_of_the_files_without_their_enlargement(
    tmp_path: Path,
) -> None:
    import base64
    import io

    grid = Image.effect_noise((41, 33), 90).convert("RGB")
    grid.resize((123, 99), Image.Resampling.NEAREST).save(tmp_path / "grid.png")
    uri = embedded.data_uri(tmp_path / "grid.png")
    assert uri is not None
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.convert("RGB").tobytes() == grid.tobytes()
    assert shown.size == grid.size


def test_a_page_that_cannot_be_written_is_one_warning(
    made_up: RunFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(written, "write_text", full)
    caplog.set_level(logging.INFO, "vaegan")
    written.write_at_end(made_up.root, lambda: run_page(made_up))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "report.html could not be written (No space left on device)" in record.message


def test_without_its_packages_a_run_says_so_in_one_sentence_at_its_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "is_possible", lambda: False)
    monkeypatch.setattr("vaegan.run.train.train", lambda *_, **__: print("DONE", file=sys.stderr))
    assert train_command.main(["--output-dir", str(tmp_path / "new"), "--tracker", "none"]) == 0
    assert capsys.readouterr().err == (
        "There will be no report.html: pip install 'vaegan[report]' provides it.\nDONE\n"
    )


def test_it_can_be_switched_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaegan.run.train.train", lambda *_, **__: None)
    new = str(tmp_path / "new")
    assert train_command.main(["--output-dir", new, "--tracker", "none"]) == 0
    assert "report.html could not be written" in capsys.readouterr().err, "of a run that has none"
    assert train_command.main(["--output-dir", new, "--tracker", "none", "--report", "none"]) == 0
    assert capsys.readouterr().err == ""


def test_the_command_writes_it_again(
    made_up: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["report", str(made_up.root)]) == 0
    page = made_up.root / "report.html"
    assert "<title>made-up</title>" in page.read_text()
    assert main(["report", str(made_up.root / "samples")]) == 2
    assert "There is no run" in capsys.readouterr().err
    monkeypatch.setattr(written, "is_possible", lambda: False)
    assert main(["report", str(made_up.root)]) == 2
    assert "pip install 'vaegan[report]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of the committed comparison of digits; one of its runs has metrics here."""
    where = tmp_path_factory.mktemp("compared")
    results = ROOT / "evaluation/results/comparison-mnist5k"
    shutil.copy(results / "contact-sheet.png", where)
    runs: list[Run] = []
    for record in json.loads((results / "comparison.json").read_text())["runs"]:
        made = record["checkpoint"]
        gan = {"similarity_from": "gan.pt"} if made["model"] == "vae-dis" else {}
        config = recipe_config(
            "normal-prior", "mnist5k", made["model"], seed=made["training_seed"], **gan
        )
        run = RunFolder(where / Path(made["path"]).parent)
        if made["training_seed"] == 0:
            run.create(config, {})
            for step in range(1, 101):
                row = {"step": step, "images_seen": 64 * step, **METRICS}
                with run.metrics_file.open("a") as file:
                    file.write(json.dumps({**row, "speed/training_seconds": step / 2}) + "\n")
        subject = Subject(run.inference_file, made["sha256"], config)
        runs.append(Run(subject, record, {"seconds": 60.0 + len(runs), "environment": None}))
    return comparison_page("python evaluation/compare.py", rows(runs), where)


def test_a_comparison_has_the_committed_numbers_and_a_line_for_each_run(compared: Page) -> None:
    html = as_html(compared)
    table = (ROOT / "evaluation/results/comparison-mnist5k/comparison.md").read_text()
    numbers = re.findall(r"\d[\d.,]* ± [\d.]+", table.partition("Mean ±")[0])
    assert len(numbers) > 20
    for number in numbers[:-4]:  # the last are of the seconds
        assert number in html or number in re.findall(r"(\S+ ± \S+) \|$", table, flags=re.M), number
    [figure] = [f for f in figures(html) if "GAN" in str(f) or "discriminator" in str(f["layout"])]
    assert {trace["name"] for trace in figure["data"]} == {"vae", "vae-dis", "gan", "vaegan"}
    assert {trace["line"]["color"] for trace in figure["data"]} == {
        "#56B4E9",
        "#009E73",
        "#E69F00",
        "#D55E00",
    }
    assert figure["axes"][0]["images"][-1] == pytest.approx(64 * 100, rel=0.02)
    assert figure["axes"][0]["seconds"][-1] == pytest.approx(50, rel=0.02)
    assert "data:image/webp;base64," in html
    assert "vaegan against gan" in html


# A script inside the page tells the page around it what it has found.
_ERRORS = """<script>
const found = {title: document.title, errors: []};
addEventListener("error", (e) => found.errors.push(e.message));
document.addEventListener("securitypolicyviolation", (e) =>
  found.errors.push(e.violatedDirective + " " + e.blockedURI));
</script></head>"""
_PROBE = """<script>
found.width = document.documentElement.scrollWidth;
found.charts = document.querySelectorAll(".chart .main-svg").length;
found.buttons = [...document.querySelectorAll(".modebar-btn")].map((b) => b.dataset.title);
const slider = document.querySelector("input[type=range]"), shown = document.querySelector("img");
if (slider) {
  const last = shown.src;
  slider.value = 0; slider.dispatchEvent(new Event("input"));
  found.moved = shown.src !== last;
}
document.querySelector("input[value=images]").click();
found.axis = document.querySelector(".xtitle").textContent;
setTimeout(() => parent.postMessage(found, "*"), 0);
</script></body>"""
# A window is at least 500 pixels wide, and a frame may be as narrow as a phone.
_AROUND = """<!doctype html><pre></pre>{frames}<script>const all = {{}};
addEventListener("message", (e) => {{ all[e.data.title] = e.data;
document.querySelector("pre").textContent = JSON.stringify(all); }});</script>"""
_FRAME = '<iframe src="{name}" width="{width}" height="800" style="border: 0"></iframe>'


def in_a_browser(folder: Path, pages: Sequence[Page], width: int) -> list[dict[str, Any]]:
    """What `_PROBE` has found on each page, shown `width` pixels wide; files go to `folder`."""
    frames = []
    for place, page in enumerate(pages):
        head, _, tail = as_html(page).replace("</head>", _ERRORS, 1).rpartition("</body>")
        (folder / f"{place}.html").write_text(head + _PROBE + tail)
        frames.append(_FRAME.format(name=f"{place}.html", width=width))
    (folder / "around.html").write_text(_AROUND.format(frames="".join(frames)))
    words = [CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    words += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000"]
    dom = subprocess.run(
        [*words, (folder / "around.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    ).stdout
    found = json.loads(unescape(dom.partition("<pre>")[2].partition("</pre>")[0]))
    return [found[page.title] for page in pages]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_both_pages_on_a_phone_without_errors(
    made_up: RunFolder, compared: Page, tmp_path: Path
) -> None:
    pages = in_a_browser(tmp_path, [run_page(made_up), compared], 390)
    for found in pages:
        assert found["errors"] == []
        assert found["charts"] >= 4
        assert found["width"] <= 390, "wider than the phone"
        assert found["axis"] == "images seen"
        assert set(found["buttons"]) <= {"Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}
        assert "Zoom in" in found["buttons"]
    assert pages[0]["moved"], "the slider changes the picture"
