// A row of digits: one of them is chosen, and the page shows its probabilities and its inside.
const row = document.querySelector(".row");
const together = document.querySelector(".together");
let chosen = null; // its place; null is the last, which is drawn or was drawn just now

const percent = (share) => `${(100 * share).toFixed(1)}%`;

// show the digits, and call `tell` with the chosen one, now and whenever another is chosen
export function showRow({ digits, probability }, tell) {
  together.hidden = row.hidden = !digits;
  if (!digits) {
    chosen = null;
    row.replaceChildren();
    return;
  }
  const sure = document.createElement("b");
  sure.textContent = percent(probability);
  together.replaceChildren(sure, " all are right");
  const buttons = digits.map((digit, place) => {
    const button = document.createElement("button");
    button.type = "button";
    const [image, read, share] = ["img", "b", "span"].map((tag) => document.createElement(tag));
    image.src = digit.seen;
    image.alt = "";
    read.textContent = digit.digit;
    share.textContent = percent(Math.max(...digit.probabilities));
    button.append(image, read, " ", share);
    button.addEventListener("click", () => {
      chosen = place;
      mark();
    });
    return button;
  });
  const mark = () => {
    const at = Math.min(chosen ?? Infinity, digits.length - 1);
    buttons.forEach((button, place) => button.setAttribute("aria-pressed", place === at));
    buttons[at].scrollIntoView({ block: "nearest", inline: "nearest" });
    tell(digits[at]);
  };
  row.replaceChildren(...buttons);
  mark();
}
