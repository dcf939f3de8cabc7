"""The pages that commands leave, in a real browser at the widths of a desk and a phone."""

import pytest

from tests import tiny
from tests.app.report.browser import BROWSER, DESK, PHONE, Browser, check_fits
from tests.e2e.tools import call

pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine"),
    pytest.mark.usefixtures("light_features"),
]
SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
IMAGES = ("run", "digits", "--method", "source", "--n-target", "12", "--network.kind", "mlp", *tiny.OPTIONS)
COMPARISON = ("--methods", "kde", "sir", "source", "--n-targets", "8", "20", "--seeds", "1", "--num-source", "200")
PROBE = ("--num-source", "200", "--n-target", "12", "--objectives", "masked", "--times", "0.05", "0.3")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def page_of(tmp_path_factory, light_metrics, light_features):
    """Words of a command -> the page that it leaves, made once."""
    made = {}

    def make(*words):
        if words not in made:
            folder = tmp_path_factory.mktemp("pages") / "out"
            call(*words, "--out", folder)
            made[words] = (folder / "report.html").read_text()
        return made[words]

    return make


@pytest.fixture(scope="module")
def pages(finished_run, page_of):
    """Drawn before the pictures of tests are made cheap."""
    return {
        "run": (finished_run[0] / "report.html").read_text(),
        "images": page_of(*IMAGES),
        "comparison": page_of("compare", "gaussians", *COMPARISON, *tiny.OPTIONS),
        "probe": page_of("probe", "gaussians", *PROBE, *tiny.OPTIONS),
    }


@SIZES
@pytest.mark.parametrize(("name", "pictures"), [("run", 14), ("images", 5), ("comparison", 18), ("probe", 4)])
def test_pages_fit(browser, pages, name, pictures, size):
    found = browser.measured(pages[name], size)
    check_fits(found, size)
    assert found["pictures"] == pictures


def test_pages_open_with_what_the_numbers_mean_and_end_with_the_command(pages):
    for name, words, command in (
        ("run", "samples of tgdp", "tgdp run gaussians"),
        ("images", "This is the source model as it is", "tgdp run digits"),
        ("comparison", "With 8 target rows", "tgdp compare gaussians"),
        ("probe", "A linear probe finds most in", "tgdp probe gaussians"),
    ):
        top, bottom = pages[name].split("</header>")[0], pages[name].split("<footer>")[1]
        assert '<p class="lead">' in top and words in top
        assert command in bottom and "Made with tgdp_jax" in bottom


def test_every_metric_has_its_one_name_and_says_what_it_is(pages):
    assert '<abbr title="Median distance of samples' in pages["run"]
    # Its name in the file stands beside what it is, at the heading and in the list.
    assert pages["run"].count("In metrics.json: memorisation.") == 2
    for page in pages.values():
        assert "novelty" not in page and "models' units" not in page
