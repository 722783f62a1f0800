// Runs once, in the page: gradio gives `element` (demo.py's PAGE) and `server` (the function `read` in demo.py).
const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const [draw, erase] = element.querySelectorAll("[aria-pressed]");
const chooser = element.querySelector("input");
const result = element.querySelector(".result");
let last = null; // where the stroke has got to
let next = null; // gives the picture to read next
let busy = false;

function wipe() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

// while one picture is being read, only the newest of the others waits
async function send(picture) {
  next = picture;
  if (busy) return;
  busy = true;
  while (next) {
    const url = next();
    next = null;
    const answer = await server.read(url).catch(() => null); // undefined when refused
    if (answer) result.innerHTML = answer;
    else result.querySelector(".notice").textContent = "No answer: does the program still run?";
  }
  busy = false;
}

const drawing = () => canvas.toDataURL();

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
element.querySelector(".clear").addEventListener("click", () => {
  wipe();
  pick(draw);
  send(drawing);
});

chooser.addEventListener("change", () => {
  const [file] = chooser.files;
  chooser.value = ""; // the same file again is a change, too
  wipe();
  if (file.size > 7e6) {
    result.querySelector(".notice").textContent = `${file.name} is larger than 7 MB.`;
    return;
  }
  // what the browser cannot show, Python may still read
  createImageBitmap(file).then((picture) => {
    const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    pen.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  }, () => {});
  const reader = new FileReader();
  reader.addEventListener("load", () => send(() => reader.result));
  reader.readAsDataURL(file);
});

wipe();
