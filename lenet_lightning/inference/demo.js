import { choose, receive } from "./inside.js";
import { showRow } from "./row.js";

const canvas = document.querySelector("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const [draw, erase] = document.querySelectorAll(".tools [aria-pressed]");
const networks = document.querySelector("select");
const chooser = document.querySelector("input");
const main = document.querySelector("main");
const headline = document.querySelector(".headline");
const seen = document.querySelector(".seen");
const notice = document.querySelector(".notice");
const undo = document.querySelector(".undo");
const UNDONE = 50; // strokes that can be taken back, 0.3 MB each
const LARGEST = 10e6; // bytes; the same as in server.py
const [PEN, ERASER] = [8, 30]; // widths on the canvas; framing thickens the lines of what is drawn large
const SMALL = 45; // on the canvas; three times as many predictions are wrong at 40 as at 60
let last = null; // where the stroke is now
let next = null; // returns the picture to read next
let newest = null; // likewise the one that was read last
let lastWord = null; // says again what the page itself said since then
let busy = false;

const before = []; // the canvas before each stroke, the oldest first

const bars = Array.from({ length: 10 }, (_, digit) => {
  const row = document.createElement("li");
  row.append(...["b", "i", "span"].map((tag) => document.createElement(tag)));
  row.children[1].append(document.createElement("b"));
  row.firstChild.textContent = digit;
  document.querySelector("ol").append(row);
  return row;
});

function show(text, message, answer = {}) {
  headline.textContent = text;
  headline.style.setProperty("--signs", text.length);
  notice.textContent = message ?? "";
  headline.classList.toggle("digit", Boolean(answer.seen || answer.digits));
  main.classList.toggle("several", Boolean(answer.digits));
  if (!answer.digits) detail(answer);
  showRow(answer, detail);
}

// of one digit: what the network saw, what its stages made of it, the bars
function detail(answer) {
  seen.hidden = !answer.seen;
  if (answer.seen) seen.src = answer.seen;
  receive(answer.stages);
  const shares = answer.probabilities;
  bars.forEach((row, digit) => {
    const [, bar, share] = row.children;
    const percent = shares ? `${(100 * shares[digit]).toFixed(1)}%` : "";
    row.classList.toggle("best", shares?.[digit] === Math.max(...(shares ?? [])));
    share.textContent = percent;
    bar.firstChild.style.width = percent || "0";
  });
}

function tell(answer, drawn) {
  const digits = answer.digits ?? [answer];
  const read = answer.text ?? `${answer.digit ?? ""}`;
  const hint = drawn && isSmall(digits.length > 1) ? "Small digits are misread more often: draw larger." : "";
  const message = drawn && !read ? hint : [answer.notice, hint].filter(Boolean).join(" ");
  show(read || (drawn ? "Draw a digit" : "No digit found"), message, answer);
}

// while one picture is being read, only the newest of the others waits
async function send(picture) {
  next = newest = picture;
  lastWord = null;
  if (busy) return;
  busy = main.ariaBusy = true;
  while (next) {
    const waiting = next;
    next = null;
    try {
      const body = await waiting();
      const headers = { "Content-Type": "application/octet-stream" };
      const route = networks.length > 1 ? `read?network=${networks.value}` : "read";
      const response = await fetch(route, { method: "POST", body, headers });
      if (response.ok) {
        tell(await response.json(), waiting === drawing);
      } else if (response.status !== 500) {
        show("No digit read", await response.text());
      } else throw new Error();
    } catch {
      notice.textContent = "No answer: does the program still run?";
    }
  }
  busy = main.ariaBusy = false;
  lastWord?.();
}

// of the page itself: the answer to an older picture, which may come later, does not take its place
function say(word) {
  lastWord = word;
  word();
}

const drawing = () => new Promise((resolve) => canvas.toBlob(resolve));

function remember() {
  before.push(pen.getImageData(0, 0, canvas.width, canvas.height));
  if (before.length > UNDONE) before.shift();
  undo.disabled = false;
}

// whether there is ink and it is low; one digit may be wide instead
function isSmall(isRow) {
  const { width, height } = canvas;
  const { data } = pen.getImageData(0, 0, width, height);
  let [top, left, low, right] = [height, width, -1, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (data[4 * (y * width + x)] > 127) continue;
      [top, left, low, right] = [Math.min(top, y), Math.min(left, x), y, Math.max(right, x)];
    }
  }
  const [high, wide] = [low - top + 1, right - left + 1];
  return low >= 0 && (isRow ? high : Math.max(high, wide)) < SMALL;
}

function wipe() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

function stroke(event) {
  const box = canvas.getBoundingClientRect();
  const here = [
    ((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height,
  ];
  const erasing = erase.getAttribute("aria-pressed") === "true";
  pen.strokeStyle = erasing ? "white" : "black";
  pen.lineWidth = erasing ? ERASER : PEN;
  pen.lineCap = "round";
  pen.beginPath();
  pen.moveTo(...(last ?? here));
  pen.lineTo(...here);
  pen.stroke();
  last = here;
}

function pick(tool) {
  for (const each of [draw, erase]) each.setAttribute("aria-pressed", each === tool);
}

canvas.addEventListener("pointerdown", (event) => {
  if (last || event.button) return; // one finger at a time
  canvas.setPointerCapture(event.pointerId);
  remember();
  stroke(event);
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  stroke(event);
  send(drawing);
});
canvas.addEventListener("lostpointercapture", () => {
  last = null;
  send(drawing);
});

draw.addEventListener("click", () => pick(draw));
erase.addEventListener("click", () => pick(erase));
undo.addEventListener("click", () => {
  pen.putImageData(before.pop(), 0, 0);
  undo.disabled = !before.length;
  send(drawing);
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z") undo.click();
});
document.querySelector(".clear").addEventListener("click", () => {
  remember();
  wipe();
  pick(draw);
  send(drawing);
});

function take(file) {
  remember();
  wipe();
  if (file.size > LARGEST) {
    next = newest = null;
    say(() => show("No digit read", `${file.name} is larger than ${LARGEST / 1e6} MB.`));
    return;
  }
  createImageBitmap(file).then(paint, () => {}); // what the browser cannot show, Python may still read
  send(() => file);
}

function paint(picture) {
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const [left, top] = [Math.round((canvas.width - width) / 2), Math.round((canvas.height - height) / 2)];
  const place = () => pen.drawImage(picture, left, top, width, height);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  place();
  const { data } = pen.getImageData(left, top, width, height);
  wipe();
  if (isLightInk(data)) pen.globalCompositeOperation = "difference"; // white on white would not be seen
  place();
  pen.globalCompositeOperation = "source-over";
}

// light ink on a transparent ground, as transparency.py tells it
function isLightInk(data) {
  let [covered, light] = [0, 0];
  for (let at = 0; at < data.length; at += 4) {
    covered += data[at + 3] / 255;
    light += (data[at + 3] / 255) * (0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]);
  }
  return covered < data.length / 8 && light > 160 * covered;
}

function transferred(event, files) {
  event.preventDefault(); // a browser would leave the page for the picture
  if (files.length) take(files[0]);
  else say(() => { notice.textContent = "There is no picture in it."; });
}

chooser.addEventListener("change", () => {
  const [file] = chooser.files;
  chooser.value = ""; // choosing the same file again is a change, too
  take(file);
});
document.addEventListener("paste", (event) => transferred(event, event.clipboardData.files));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => transferred(event, event.dataTransfer.files));

networks.addEventListener("change", () => {
  const { network, weights, stages } = networks.selectedOptions[0].dataset;
  document.querySelector(".network").textContent = network;
  document.title = `${network} reads your digit`;
  document.querySelector(".faint").textContent = weights;
  choose(JSON.parse(stages));
  if (newest) send(newest);
});

networks.hidden = networks.length === 1;
networks.dispatchEvent(new Event("change"));
wipe();
show("Draw a digit");
