"""What one does on the page besides drawing: take strokes back, paste and drop pictures, watch the bars."""

import base64
import io

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from tests.inference.test_demo import ONE, SEVEN, draw, fits, headline

pytestmark = pytest.mark.browser

HANDED_OVER = """([kind, name, type, content]) => {
  const data = new DataTransfer();
  if (content) data.items.add(new File([Uint8Array.from(atob(content), each => each.charCodeAt())], name, { type }));
  else data.setData("text/plain", name);
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
  return event.defaultPrevented;
}"""


def seven():
    picture, file = Image.new("L", (400, 300), 255), io.BytesIO()
    ImageDraw.Draw(picture).line([(140, 60), (240, 60), (170, 240)], fill=0, width=26, joint="curve")
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_that_is_pasted_or_dropped_is_read(opened, kind):
    page = opened()
    assert page.evaluate(HANDED_OVER, [kind, "seven.png", "image/png", seven()])
    headline(page, "7")


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_text_that_is_pasted_or_dropped_is_said_to_be_no_picture(opened, kind):
    page = opened()
    draw(page, ONE)
    headline(page, "1")
    assert page.evaluate(HANDED_OVER, [kind, "seven", "", ""])
    expect(page.locator(".notice")).to_have_text("There is no picture in it.")
    headline(page, "1")


LARGE = base64.b64encode(bytes(10_000_001)).decode()


@pytest.mark.parametrize(
    ("handed", "word", "read"),
    [
        (["paste", "seven", "", ""], "There is no picture in it.", "1"),
        (["drop", "large.png", "image/png", LARGE], "large.png is larger than 10 MB.", "No digit read"),
    ],
    ids=["text", "large"],
)
def test_a_late_answer_to_an_older_picture_does_not_take_the_place_of_what_was_said(opened, handed, word, read):
    page = opened()
    held = []
    page.route("**/read*", lambda route: held.append(route))
    draw(page, ONE)
    busy = page.locator("[aria-busy=true]")
    expect(busy).to_have_count(1)
    assert page.evaluate(HANDED_OVER, handed)
    expect(page.locator(".notice")).to_have_text(word)
    while busy.count():
        if held:
            held.pop().continue_()
        page.wait_for_timeout(20)
    expect(page.locator(".notice")).to_have_text(word)
    headline(page, read)


def test_what_is_dragged_over_the_page_may_be_dropped(opened):
    assert opened().evaluate(HANDED_OVER, ["dragover", "seven.png", "image/png", seven()])


PIXELS = "canvas => canvas.toDataURL()"


def test_strokes_are_taken_back_one_by_one(opened):
    page = opened()
    undo, canvas = page.get_by_role("button", name="Undo"), page.locator(".pad canvas")
    expect(undo).to_be_disabled()
    seen = [canvas.evaluate(PIXELS)]
    for stroke in (ONE, [(0.2, 0.3), (0.8, 0.3)], SEVEN):
        draw(page, stroke)
        seen.append(canvas.evaluate(PIXELS))
    page.get_by_role("button", name="Clear").click()
    headline(page, "Draw a digit")
    for number, expected in enumerate(reversed(seen)):
        if number % 2:
            page.keyboard.press("Control+z")
        else:
            undo.click()
        assert canvas.evaluate(PIXELS) == expected
        if number == 2:
            headline(page, "1")
    headline(page, "Draw a digit")
    expect(undo).to_be_disabled()
    page.keyboard.press("Control+z")
    assert canvas.evaluate(PIXELS) == seen[0]


def test_each_bar_keeps_its_place(opened):
    page = opened()
    for stroke, digit in ((ONE, "1"), (SEVEN, "7")):
        draw(page, stroke)
        headline(page, digit)
        assert page.locator(".result li > b").all_inner_texts() == [*"0123456789"]
        expect(page.locator(".result .best > b")).to_have_text(digit)
        page.get_by_role("button", name="Clear").click()
        headline(page, "Draw a digit")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_all_buttons_are_in_sight(opened, width, height):
    page = opened(width, height)
    assert fits(page)
    for button in page.locator(".tools > *").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
