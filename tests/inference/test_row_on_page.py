"""The page reads several digits as a row, and one as one. Small drawings, phones on their side, light ink."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from lenet_lightning import Recognizer, weights
from tests.inference import corpus
from tests.inference.conftest import serving
from tests.inference.test_demo import READ, ask, draw, fits, headline
from tests.inference.test_drawing import HANDED_OVER
from tests.inference.test_inside import PHONE, computed, listening, look_inside, maps_on, sent, settled

pytestmark = pytest.mark.browser

SIDEWAYS = PHONE | {"width": 844, "height": 390}
DESK = {"width": 1280, "height": 800, "device_scale_factor": 1.35}
SCREENS = {"desk": DESK, "phone": PHONE, "sideways": SIDEWAYS}
ON_ALL = pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)

# of digits in a square of their own, (0, 0) to (1, 1)
STROKES = {
    "1": [[(0.3, 0.25), (0.6, 0.0), (0.6, 1.0)]],
    "7": [[(0.0, 0.0), (1.0, 0.0), (0.35, 1.0)]],
    "8": [[(0.8, 0.1), (0.5, 0.0), (0.15, 0.2), (0.8, 0.7), (0.5, 1.0), (0.15, 0.75), (0.8, 0.1)]],
    "4": [[(0.45, 0.0), (0.05, 0.62), (1.0, 0.62)], [(0.75, 0.3), (0.72, 1.0)]],
}


def row_of(digits, height=0.4):
    """Strokes on the pad, from its left to its right."""
    wide = 0.84 / len(digits)
    return [
        [(0.08 + (place + 0.66 * x) * wide, 0.3 + height * y) for x, y in stroke]
        for place, digit in enumerate(digits)
        for stroke in STROKES[digit]
    ]


def draw_row(page, digits, **look):
    for stroke in row_of(digits, **look):
        draw(page, stroke)
    return settled(page)


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def drop(page, content, kind="image/png"):
    assert page.evaluate(HANDED_OVER, ["drop", "dropped", kind, base64.b64encode(content).decode()])


@ON_ALL
def test_a_drawn_1784_is_read_as_a_row_with_the_probability_of_each_and_of_all(opened, screen, tmp_path):
    page = listening(opened(**screen))
    answer = draw_row(page, "1784")
    headline(page, "1784")
    assert [digit["digit"] for digit in answer["digits"]] == [1, 7, 8, 4]
    each = [max(digit["probabilities"]) for digit in answer["digits"]]
    assert 0.5 < answer["probability"] <= min(each)
    expect(page.locator(".together")).to_have_text(f"{100 * answer['probability']:.1f}% all are right")
    shown = page.locator(".row button")
    assert [text.split() for text in shown.all_inner_texts()] == [
        [digit, f"{100 * share:.1f}%"] for digit, share in zip("1784", each, strict=True)
    ]
    expect(page.locator(".notice")).to_have_text("")
    assert fits(page)
    box = page.locator(".demo").bounding_box()
    around = {"x": box["x"] - 24, "y": 0, "width": 948, "height": box["y"] + box["height"] + 24}
    page.screenshot(path=tmp_path / "demo.png", clip=around if screen is DESK else None)  # docs/demo.png


def touching(digits, pitch):
    """Strokes of digits that are so close that they touch; `pitch`: in widths of a digit."""
    return [
        [(0.2 + 0.25 * (place * pitch + x), 0.3 + 0.4 * y) for x, y in stroke]
        for place, digit in enumerate(digits)
        for stroke in STROKES[digit]
    ]


@pytest.mark.parametrize(("digits", "pitch"), [("84", 0.72), ("44", 0.9), ("784", 0.8), ("788", 0.7)])
def test_digits_that_touch_are_read_as_a_row(opened, digits, pitch):
    page = listening(opened())
    for stroke in touching(digits, pitch):
        draw(page, stroke)
    answer = settled(page)
    headline(page, digits)
    assert [each["digit"] for each in answer["digits"]] == list(map(int, digits))


def test_a_broad_digit_stays_one(opened):
    page = listening(opened())
    draw(page, [(0.1, 0.3), (0.9, 0.3), (0.35, 0.7)])  # a 7, twice as wide as it is high
    assert "digits" not in settled(page)
    headline(page, "7")


@ON_ALL
def test_the_bars_and_the_inside_are_those_of_the_chosen_digit(opened, screen, tmp_path):
    page = opened(**screen)
    look_inside(page)
    answer = draw_row(page, "1784")
    assert fits(page)
    network, metadata = weights.load(weights.SHIPPED)
    bars, chosen = page.locator(".result li"), page.locator(".row [aria-pressed=true]")
    for place, digit in ((None, "4"), (1, "7"), (0, "1")):  # at first the last is
        if place is not None:
            page.locator(".row button").nth(place).click()
        at = 3 if place is None else place
        expect(chosen).to_contain_text(digit)
        assert chosen.count() == 1
        seen, stages = sent(answer["digits"][at])
        expect(page.locator("img.seen")).to_have_attribute("src", answer["digits"][at]["seen"])
        expected = computed(network, metadata, seen)
        for name, values in expected.items():
            np.testing.assert_array_equal(stages[name], values.ravel())
        c1 = page.get_by_role("tab", name="C1").locator("canvas")
        darkest = maps_on(c1, expected["C1"].shape)[expected["C1"] == expected["C1"].max()]
        assert (darkest == 255).all()  # white where the chosen digit's units are largest
        shares = [float(text.rstrip("%")) for text in bars.locator("span").all_text_contents()]
        np.testing.assert_allclose(shares, 100 * np.array(answer["digits"][at]["probabilities"]), atol=0.051)
    page.screenshot(path=tmp_path / "inside.png")


def test_what_is_chosen_stays_chosen_while_one_draws_on(opened):
    page = listening(opened())
    draw_row(page, "178")
    page.locator(".row button").first.click()
    draw(page, [(0.9, 0.3), (0.9, 0.7)])
    settled(page)
    headline(page, "1781")
    expect(page.locator(".row [aria-pressed=true]")).to_have_count(1)
    assert page.locator(".row button").first.get_attribute("aria-pressed") == "true"


@ON_ALL
def test_after_a_row_one_digit_is_as_it_was_and_the_bars_are_in_their_place(opened, screen):
    page = listening(opened(**screen))
    draw_row(page, "1784")
    expect(page.locator(".row")).to_be_visible()
    bars = page.locator("ol").bounding_box()
    page.get_by_role("button", name="Clear").click()
    headline(page, "Draw a digit")
    for hidden in (".row", ".together"):
        expect(page.locator(hidden)).to_be_hidden()
    for stroke in corpus.FOUR:
        draw(page, stroke)
    assert "digits" not in settled(page)
    headline(page, "4")
    expect(page.locator("figure")).to_be_visible()
    assert page.locator("ol").bounding_box() == bars


@pytest.mark.parametrize("strokes", [corpus.FOUR, [corpus.SEVEN], row_of("1784")], ids=["4", "7", "1784"])
@pytest.mark.parametrize("side", [280, 900])
def test_the_server_answers_as_the_recognizer_does(port, strokes, side):
    image = corpus.drawn(*strokes, side=side, width=0.03)
    answer = json.loads(ask(port, **READ, body=png(image))[1])
    digits = answer.get("digits", [answer])
    recognizer = Recognizer(weights.SHIPPED)
    assert len(digits) == (4 if len(strokes) == 5 else 1)
    for digit in digits:
        seen, _ = sent(digit)
        assert recognizer(np.asarray(seen)).digit == digit["digit"]
    if len(digits) == 1:
        assert np.array_equal(np.asarray(sent(answer)[0]), recognizer(image).seen)
        np.testing.assert_allclose(answer["probabilities"], recognizer(image).probabilities)


@ON_ALL
def test_a_dropped_picture_of_a_row_is_read(opened, screen):
    page = listening(opened(**screen))
    file = io.BytesIO()
    corpus.drawn(*row_of("1784"), side=1200, mode="RGB", ground="#e8dcc0", ink="#20306a", width=0.02).save(file, "JPEG")
    drop(page, file.getvalue(), "image/jpeg")
    headline(page, "1784")
    assert fits(page)


def test_many_digits_are_shown_without_widening_the_page(opened):
    page = listening(opened(**PHONE))
    row = Image.new("L", (40 * 80, 100), 255)
    for place in range(40):
        row.paste(corpus.drawn(*STROKES["17"[place % 2]], side=60, width=0.08), (80 * place + 10, 20))
    drop(page, png(row))
    expect(page.locator(".row button")).to_have_count(40, timeout=10_000)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    inside = "e => e.getBoundingClientRect().right <= innerWidth && e.getBoundingClientRect().left >= 0"
    assert page.locator(".row [aria-pressed=true]").evaluate(inside)


HINT = "Small digits are misread more often: draw larger."


@pytest.mark.parametrize(("height", "hint"), [(0.08, HINT), (0.12, HINT), (0.16, ""), (0.5, "")])
@pytest.mark.parametrize("digits", ["7", "17"])
def test_a_small_drawing_is_said_to_be_small(opened, digits, height, hint):
    page = listening(opened())
    for stroke in row_of(digits, height):
        draw(page, [(0.3 + (x - 0.3) * height, y) for x, y in stroke])  # as narrow as it is low
    settled(page)
    expect(page.locator(".notice")).to_have_text(hint)


@pytest.mark.parametrize("height", [0.16, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("digit", STROKES)
def test_the_pen_suits_small_drawings_and_large_ones(opened, digit, height):
    page = listening(opened())
    for stroke in STROKES[digit]:
        draw(page, [(0.5 + (x - 0.5) * 0.6 * height, 0.5 + (y - 0.5) * height) for x, y in stroke])
    settled(page)
    headline(page, digit)


def test_a_small_picture_that_is_dropped_gets_no_hint(opened):
    page = listening(opened())
    small = Image.new("L", (600, 600), 255)
    small.paste(corpus.drawn(corpus.SEVEN, side=90), (250, 250))
    drop(page, png(small))
    headline(page, "7")
    expect(page.locator(".notice")).to_have_text("")


def test_a_picture_without_a_digit_is_said_to_have_none(opened):
    page = listening(opened())
    drop(page, png(Image.new("L", (300, 300), 255)))
    headline(page, "No digit found")
    expect(page.locator(".notice")).to_have_text("Nothing that looks like a digit is in it.")
    page.get_by_role("button", name="Clear").click()
    headline(page, "Draw a digit")
    expect(page.locator(".notice")).to_have_text("")


@pytest.mark.parametrize("side", [200, 900])
@pytest.mark.parametrize("ink", ["white", "black"])
def test_ink_on_a_transparent_ground_is_read_and_seen_on_the_pad(opened, ink, side):
    page = listening(opened())
    drop(page, png(corpus.drawn(corpus.SEVEN, side=side, mode="RGBA", ground=(0, 0, 0, 0), ink=ink)))
    headline(page, "7")
    pixels = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 280, 280).data]"
    pad = np.array(page.locator(".pad canvas").evaluate(pixels)).reshape(280, 280, 4)
    assert (pad[..., 3] == 255).all()
    assert 0.01 < (pad[..., 0] < 60).mean() < 0.2
    assert (pad[0, 0, :3] == 255).all()
    # and one can draw on
    draw(page, [(0.85, 0.3), (0.85, 0.75)])
    settled(page)
    headline(page, "71")


@pytest.mark.parametrize(("width", "height"), [(844, 390), (932, 430), (667, 331)])
def test_on_a_phone_on_its_side_the_pad_and_the_answer_are_beside_each_other(opened, width, height, tmp_path):
    page = listening(opened(**PHONE | {"width": width, "height": height}))
    assert fits(page)
    for stroke in corpus.FOUR:
        draw(page, stroke)
    settled(page)
    headline(page, "4")
    assert fits(page)
    pad, answer = (page.locator(each).bounding_box() for each in (".pad canvas", ".headline"))
    assert pad["x"] + pad["width"] <= answer["x"]
    assert pad["y"] < answer["y"] + answer["height"] / 2 < pad["y"] + pad["height"]
    assert pad["height"] > 0.7 * height
    for part in page.locator(".tools > *, .result li, .headline, figure, .look").all():
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
    page.get_by_role("button", name="Inside the network").click()
    assert fits(page)
    assert page.locator(".maps canvas").bounding_box()["height"] > 80
    page.screenshot(path=tmp_path / "sideways.png")


def test_the_page_says_nothing_of_the_command_line(opened):
    page = opened()
    assert "--" not in page.locator("body").evaluate("body => body.textContent")


def test_an_onnx_file_reads_a_row(chromium, threes, tmp_path):
    with serving(tmp_path, "--weights", str(threes)) as (_, port):
        page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        look_inside(page)
        draw_row(page, "1784")
        headline(page, "3333")
        page.context.close()
