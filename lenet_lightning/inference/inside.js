// The view "Inside the network": what each stage makes of the digit, and what its units depend on.
const find = (selector) => document.querySelector(selector);
const [demo, view, strip, room] = [".demo", "section.inside", ".strip", ".maps"].map(find);
const look = find(".look");
const unitLine = find(".unit");
const field = find(".field");
const BLUE = [70, 150, 255]; // of the lowest values; the same as in slide.py
const MARK = getComputedStyle(document.documentElement).getPropertyValue("--mark");
const GAP = 6; // between maps, in CSS pixels
const MARGIN = 14; // around them
const LARGEST = 80; // a unit's side
let stages = []; // as Stage in inside.py, each with the values of the newest digit
let at = 0; // the stage that is shown large
let unit = null; // [map, row, column] that is pointed at
let sheet = null; // how the maps of that stage are laid out
let large = null; // the canvas they are drawn on

export function choose(described) {
  stages = described.map((stage) => ({ ...stage, values: null }));
  at = Math.min(at, Math.max(stages.length - 1, 0));
  unit = null;
  if (!view.hidden) build();
}

export function receive(values) {
  for (const stage of stages) {
    const bytes = values?.[stage.name];
    stage.values = bytes ? new Float32Array(Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0)).buffer) : null;
  }
  if (!view.hidden && stages.length) redraw();
}

function build() {
  view.classList.toggle("none", !stages.length);
  find(".absent").hidden = Boolean(stages.length);
  strip.replaceChildren(...stages.map((stage, place) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.role = "tab";
    tab.append(document.createElement("canvas"), stage.name);
    tab.addEventListener("click", () => step(place));
    return tab;
  }));
  if (!stages.length) {
    field.hidden = true;
    return;
  }
  large ??= makeLarge();
  step(at);
}

function step(place, focus = false) {
  at = Math.max(0, Math.min(place, stages.length - 1));
  unit = null;
  [...strip.children].forEach((tab, other) => {
    tab.ariaSelected = other === at;
    tab.tabIndex = other === at ? 0 : -1;
  });
  if (focus) strip.children[at].focus();
  find(".back").disabled = at === 0;
  find(".forward").disabled = at === stages.length - 1;
  const { name, shape: [maps, rows, columns], text } = stages[at];
  const units = maps > 1 ? `${maps} maps of ${rows} × ${columns}` : `${rows * columns} units`;
  find(".about b").textContent = `${name}: ${units}`;
  find(".about span").textContent = text;
  redraw();
}

// the colours of a stage's values: black is 0, white the largest, blue below 0; the logits from black to white
function colours(stage) {
  const { values } = stage;
  if (!values) return { low: 0, high: 0, of: () => [0, 0, 0] };
  const last = stage === stages.at(-1);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const size = Math.max(-least, most) || 1;
  const grey = (share) => Array(3).fill(Math.round(255 * share));
  return {
    low: last ? least : Math.min(least, 0) && -size,
    high: last ? most : size,
    of: (value) => {
      if (last) return grey((value - least) / (most - least || 1));
      return value < 0 ? BLUE.map((part) => Math.round((part * -value) / size)) : grey(value / size);
    },
  };
}

// as many columns of maps as make the units largest, each of whole pixels of the screen
function layOut({ shape: [maps, rows, columns] }, width, height) {
  const gap = (count) => GAP * (count - 1);
  const fits = Array.from({ length: maps }, (_, before) => {
    const across = before + 1;
    const down = Math.ceil(maps / across);
    const side = Math.min((width - gap(across)) / (across * columns), (height - gap(down)) / (down * rows));
    return { across, down, side: Math.min(Math.floor(side * devicePixelRatio) / devicePixelRatio, LARGEST) };
  });
  return fits.reduce((best, other) => (other.side > best.side ? other : best));
}

function paint(canvas, stage, across) {
  const [maps, rows, columns] = stage.shape;
  const pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [across * (columns + 1) - 1, Math.ceil(maps / across) * (rows + 1) - 1];
  const { of } = colours(stage);
  for (let map = 0; map < maps; map += 1) {
    const image = pen.createImageData(columns, rows);
    for (let place = 0; place < rows * columns; place += 1) {
      image.data.set([...of(stage.values?.[map * rows * columns + place]), 255], 4 * place);
    }
    pen.putImageData(image, (map % across) * (columns + 1), Math.floor(map / across) * (rows + 1));
  }
}

const inner = () => [room.clientWidth - 2 * MARGIN, room.clientHeight - 2 * MARGIN];

function redraw() {
  const [width, height] = inner();
  stages.forEach((stage, place) => paint(strip.children[place].firstChild, stage, layOut(stage, width, height).across));
  drawLarge(width, height);
  const { low, high } = colours(stages[at]);
  const [from, bar, to] = find(".scale").children;
  find(".scale").classList.toggle("off", !stages[at].values);
  [from.textContent, to.textContent] = [signed(low, 1), signed(high, 1)];
  bar.className = at === stages.length - 1 || low === 0 ? "up" : "both";
  describe();
}

function drawLarge(width, height) {
  const stage = stages[at];
  const [maps, rows, columns] = stage.shape;
  const labelled = rows === 1; // the ten digits
  sheet = layOut(stage, width, labelled ? height / 2 : height);
  const { across, down, side } = sheet;
  const [wide, high] = [across * columns * side + (across - 1) * GAP, down * rows * side + (down - 1) * GAP];
  const scale = devicePixelRatio;
  const tall = labelled ? high + 52 : high;
  [large.width, large.height] = [Math.round(wide * scale), Math.round(tall * scale)];
  [large.style.width, large.style.height] = [`${wide}px`, `${tall}px`];
  const pen = large.getContext("2d");
  pen.scale(scale, scale);
  const { of } = colours(stage);
  const between = maps === 1 ? 1 : 0; // units without maps stand apart
  const best = labelled && stage.values ? stage.values.indexOf(Math.max(...stage.values)) : -1;
  for (let map = 0; map < maps; map += 1) {
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const value = stage.values?.[(map * rows + row) * columns + column];
        const [x, y] = corner([map, row, column]);
        pen.fillStyle = `rgb(${of(value).join(" ")})`;
        pen.fillRect(x, y, side - between, side - between);
        if (labelled) label(pen, column, value, x + side / 2, y + side, column === best);
      }
    }
  }
  if (unit) {
    const [x, y] = corner(unit);
    pen.lineWidth = 3;
    pen.strokeStyle = MARK;
    pen.strokeRect(x - 0.5, y - 0.5, side + 1 - between, side + 1 - between);
  }
}

function label(pen, digit, value, x, y, best) {
  pen.fillStyle = getComputedStyle(room).color;
  pen.textAlign = "center";
  pen.font = `${best ? 800 : 400} 22px system-ui, sans-serif`;
  pen.fillText(digit, x, y + 24);
  pen.font = `${best ? 800 : 400} ${sheet.side > 40 ? 15 : 11}px system-ui, sans-serif`;
  if (value !== undefined) pen.fillText(signed(value, 1), x, y + 44);
}

const signed = (value, places) => value.toFixed(places).replace("-", "−");

function corner([map, row, column]) {
  const [, rows, columns] = stages[at].shape;
  const { across, side } = sheet;
  return [
    (map % across) * (columns * side + GAP) + column * side,
    Math.floor(map / across) * (rows * side + GAP) + row * side,
  ];
}

// outline the receptive field on the input, and say what the unit is
function describe() {
  const { shape: [maps, rows, columns], field: seen, values } = stages[at];
  field.hidden = !unit || !values;
  if (!unit || !values) {
    unitLine.textContent = values ? "Point at a unit to see its receptive field." : "Draw a digit.";
    return;
  }
  const [map, row, column] = unit;
  const [start, step, size] = seen ?? [0, 0, 28];
  const [top, low, left, right] = [row, column].flatMap((place) => [
    Math.max(start + step * place, 0),
    Math.min(start + step * place + size, 28),
  ]);
  for (const [side, pixels] of Object.entries({ top, left, height: low - top, width: right - left })) {
    field.style[side] = `${(100 * pixels) / 28}%`;
  }
  const place = row * columns + column;
  const which = maps > 1 ? `map ${map + 1}, row ${row + 1}, column ${column + 1}` : `unit ${place + 1}`;
  const depends = seen ? `rows ${top + 1}–${low}, columns ${left + 1}–${right}` : "the whole image";
  const value = signed(values[map * rows * columns + place], 2);
  unitLine.textContent = `${rows === 1 ? `digit ${column}` : which}: ${value}, sees ${depends}`;
}

function point(to) {
  unit = to;
  drawLarge(...inner());
  describe();
}

function makeLarge() {
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.role = "application";
  canvas.ariaLabel = "units of this stage; arrow keys go from one to the next";
  const under = (event) => {
    const [maps, rows, columns] = stages[at].shape;
    const { across, down, side } = sheet;
    const [wide, high] = [columns * side + GAP, rows * side + GAP];
    const [x, y] = [Math.max(event.offsetX, 0), Math.max(event.offsetY, 0)];
    const [tile, line] = [Math.min(Math.floor(x / wide), across - 1), Math.min(Math.floor(y / high), down - 1)];
    return [
      Math.min(line * across + tile, maps - 1),
      Math.min(Math.floor((y - line * high) / side), rows - 1),
      Math.min(Math.floor((x - tile * wide) / side), columns - 1),
    ];
  };
  for (const kind of ["pointerdown", "pointermove"]) canvas.addEventListener(kind, (event) => point(under(event)));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") point(null); // a finger that was lifted has pointed
  });
  canvas.addEventListener("focus", () => {
    const [, rows, columns] = stages[at].shape;
    if (!unit && canvas.matches(":focus-visible")) point([0, rows >> 1, columns >> 1]);
  });
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation(); // elsewhere they step through the stages
    point(neighbour(unit ?? [0, 0, 0], move));
  });
  room.append(canvas);
  new ResizeObserver(() => stages.length && !view.hidden && redraw()).observe(room);
  return canvas;
}

// the unit beside one on the sheet, in the next map where this one ends
function neighbour([map, row, column], [down, right]) {
  const [maps, rows, columns] = stages[at].shape;
  const { across, down: lines } = sheet;
  const within = (place, count) => Math.max(0, Math.min(place, count - 1));
  const y = within(Math.floor(map / across) * rows + row + down, lines * rows);
  const x = within((map % across) * columns + column + right, across * columns);
  const next = Math.floor(y / rows) * across + Math.floor(x / columns);
  return next < maps ? [next, y % rows, x % columns] : [map, row, column]; // the last line may have fewer
}

look.addEventListener("click", () => {
  view.hidden = !view.hidden;
  look.ariaPressed = !view.hidden;
  demo.classList.toggle("looking", !view.hidden);
  field.hidden = true;
  if (!view.hidden) build();
});
find(".back").addEventListener("click", () => step(at - 1));
find(".forward").addEventListener("click", () => step(at + 1));

document.addEventListener("keydown", (event) => {
  if (view.hidden || !stages.length || event.target === find("select") || event.altKey || event.ctrlKey) return;
  const page = document.documentElement;
  const fits = page.scrollHeight <= page.clientHeight; // a presenter's remote control sends these; else they scroll
  const by = { ArrowLeft: -1, ArrowRight: 1, ...(fits && { PageUp: -1, PageDown: 1 }) }[event.key];
  if (!by) return;
  event.preventDefault();
  step(at + by, strip.contains(document.activeElement));
});
