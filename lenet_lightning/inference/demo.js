import { choose, receive } from "./inside.js";

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
let last = null; // where the stroke is now
let next = null; // returns the picture to read next
let newest = null; // likewise the one that was read last
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
  notice.textContent = message ?? "";
  headline.classList.toggle("digit", Boolean(answer.seen));
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

// while one picture is being read, only the newest of the others waits
async function send(picture) {
  next = newest = picture;
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
        const answer = await response.json();
        show(answer.digit ?? "Draw a digit", answer.notice, answer);
      } else if (response.status !== 500) {
        show("No digit read", await response.text());
      } else throw new Error();
    } catch {
      notice.textContent = "No answer: does the program still run?";
    }
  }
  busy = main.ariaBusy = false;
}

const drawing = () => new Promise((resolve) => canvas.toBlob(resolve));

function remember() {
  before.push(pen.getImageData(0, 0, canvas.width, canvas.height));
  if (before.length > UNDONE) before.shift();
  undo.disabled = false;
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
  pen.lineWidth = erasing ? 44 : 22;
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
    show("No digit read", `${file.name} is larger than ${LARGEST / 1e6} MB.`);
    return;
  }
  // what the browser cannot show, Python may still read
  createImageBitmap(file).then((picture) => {
    const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    pen.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  }, () => {});
  send(() => file);
}

function transferred(event, files) {
  event.preventDefault(); // a browser would leave the page for the picture
  if (files.length) take(files[0]);
  else notice.textContent = "There is no picture in it.";
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
