"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const COLOURS = ["#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#0072b2"];
  const DASH = "–";
  const perturbed = data.perturbations.map((one, index) => index).filter((index) => data.perturbations[index].kind !== "clean");
  const clean = data.perturbations.findIndex((one) => one.kind === "clean");
  const nearest = perturbed.find((index) => data.perturbations[index].kind === "nearest");
  const attack = perturbed.find((index) => data.perturbations[index].kind === "attack");
  const state = {
    run: 0,
    perturbation: attack ?? nearest ?? perturbed[0] ?? clean,
    severity: 0,
    slice: 0,
    view: perturbed.length ? "perturbed" : "clean",
    chosen: [],
    place: 0,
  };
  const fields = {};

  const make = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const current = () => state.chosen[state.place];
  const ofRun = (one) => one.runs[state.run];
  const now = () => data.perturbations[state.perturbation];
  const shownAt = (one, perturbation, severity) => ofRun(one).shown[perturbation][severity];
  const cleanOf = (one) => shownAt(one, clean, 0);

  // Numbers as texts
  const digits = (value, count) => (value === null ? DASH : value.toFixed(count));
  const score = (value) => (value === null ? DASH : data.percent ? (value > 0.5 ? "right" : "wrong") : digits(value, 3));
  const share = (value) => (value === null ? DASH : `${(100 * value).toFixed(0)} %`);
  const radius = (value) => (value === null ? DASH : String(Number(value.toPrecision(3))));

  // Which cases, and in which order
  const givesWay = (one) => ofRun(one).gives_way[state.perturbation];
  const rank = (one) => {
    const found = givesWay(one);
    if (found.when === "clean") return Number.MAX_VALUE; // it had given way before anything was done
    if (found.when === "never") return 1e9;
    if (found.when === "unknown") return NaN;
    return now().kind === "nearest" ? found.radius : found.place;
  };
  const byRank = (a, b) => {
    const [x, y] = [rank(a), rank(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return x === y ? 0 : x - y;
  };
  const byScore = (a, b) => (cleanOf(a).score ?? Infinity) - (cleanOf(b).score ?? Infinity);
  const ORDERS = { radius: byRank, radiusLast: (a, b) => byRank(b, a), score: byScore, number: () => 0 };
  const within = (one, limit) => {
    const found = givesWay(one);
    if (found.when !== "") return false;
    return limit.place === undefined ? found.radius <= limit.radius : found.place <= limit.place;
  };
  const passes = (one) => {
    if (!ofRun(one)) return false;
    const held = fields.held?.value;
    if (held && !one.holds.includes(held)) return false;
    for (const name of Object.keys(data.groups)) if (fields[`group ${name}`]?.value && one.groups[name] !== fields[`group ${name}`].value) return false;
    const outcome = fields.outcome.value;
    if (outcome === "right" && cleanOf(one).score !== 1) return false;
    if (outcome === "wrong" && cleanOf(one).score !== 0) return false;
    if (outcome === "never" && givesWay(one).when !== "never") return false;
    const limit = fields.within.value;
    return limit === "" || within(one, now().within[Number(limit)]);
  };
  const choose = () => {
    const before = current();
    state.chosen = data.cases.filter(passes).sort(ORDERS[fields.order.value]);
    state.place = Math.max(state.chosen.indexOf(before), 0);
    const count = state.chosen.length;
    element("count").textContent = count ? `${count} of ${data.cases.length} cases` : "No case is so; choose other filters.";
    list();
    show();
  };

  // Lists and fields
  const words = (one) => {
    const found = givesWay(one);
    if (found.when === "never") return "holds";
    if (found.when === "unknown") return DASH;
    if (found.when === "clean") return data.percent && now().kind !== "nearest" ? "wrong when clean" : "so when clean";
    return now().kind === "nearest" ? radius(found.radius) : now().severities[found.place];
  };
  const list = () => {
    element("list").replaceChildren(...state.chosen.map((one, place) => {
      const item = make("li");
      const button = make("button", undefined, { type: "button" });
      button.append(make("span", `Case ${one.name}`), make("span", words(one)), make("span", one.label || one.holds.join(", ")));
      button.addEventListener("click", () => { state.place = place; show(); });
      item.append(button);
      return item;
    }));
  };
  const field = (name, label, options, changed, holderName = "fields") => {
    const holder = make("label", label);
    const select = make("select");
    fill(select, options);
    select.addEventListener("change", changed);
    holder.append(select);
    element(holderName).append(holder);
    fields[name] = select;
    holder.hidden = options.length < 2;
    return select;
  };
  const fill = (select, options) => select.replaceChildren(...options.map(([value, text]) => make("option", text, { value })));
  const limits = () => {
    const one = now();
    const options = one.within.map((limit, place) => [String(place), `within ${one.kind === "corruption" ? "severity" : "radius"} ${limit.text}`]);
    fill(fields.within, [["", "or not"], ...options]);
    fields.within.parentElement.hidden = one.kind === "clean";
  };
  const setPerturbation = (index) => {
    state.perturbation = index;
    fields.perturbation.value = String(index);
    state.severity = Math.min(state.severity, now().severities.length - 1);
    limits();
    choose();
  };
  const setRun = (index) => { state.run = index; fields.run.value = String(index); choose(); };

  // Pictures
  const decoded = new Map();
  const decode = (index) => {
    if (decoded.has(index)) return decoded.get(index);
    const loading = (async () => {
      const image = new Image();
      image.src = `data:image/png;base64,${data.pictures[index]}`;
      await image.decode();
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, canvas.width, canvas.height).data;
    })();
    decoded.set(index, loading);
    if (decoded.size > 80) decoded.delete(decoded.keys().next().value);
    return loading;
  };
  const composed = async (one, view, row, base) => {
    const size = one.rows * one.columns;
    const offset = 4 * size * (one.slices ? state.slice : 0);
    const levels = await decode(base.picture);
    const changes = view === "clean" ? null : await decode(row.picture);
    const pixels = new ImageData(one.columns, one.rows);
    const factor = changes ? (255 * row.high) / 127 / (base.high - base.low) : 0;
    for (let place = 0; place < 4 * size; place += 1) {
      if (place % 4 === 3) pixels.data[place] = 255;
      else if (view === "difference") pixels.data[place] = changes[offset + place];
      else pixels.data[place] = levels[offset + place] + (changes ? (changes[offset + place] - 128) * factor : 0);
    }
    return pixels;
  };
  const scaleFor = (one) => {
    const width = element("stage").clientWidth;
    const height = Math.max(window.innerHeight * 0.55, 240);
    return Math.min(width / one.columns, height / one.rows);
  };

  // What is drawn over a picture
  const halo = (context, path, colour, dashes, scale) => {
    context.setLineDash([]);
    context.lineWidth = 4 * scale;
    context.strokeStyle = "rgba(0, 0, 0, 0.6)";
    context.stroke(path);
    context.setLineDash(dashes.map((length) => length * scale));
    context.lineWidth = 2 * scale;
    context.strokeStyle = colour;
    context.stroke(path);
    context.setLineDash([]);
  };
  const outline = (labels, offset, rows, columns, value, step) => {
    const path = new Path2D();
    const is = (row, column) => row >= 0 && column >= 0 && row < rows && column < columns && labels[4 * (offset + row * columns + column)] === value;
    for (let row = 0; row <= rows; row += 1) {
      for (let column = 0; column <= columns; column += 1) {
        if (is(row, column) !== is(row - 1, column)) { path.moveTo(column * step, row * step); path.lineTo((column + 1) * step, row * step); }
        if (is(row, column) !== is(row, column - 1)) { path.moveTo(column * step, row * step); path.lineTo(column * step, (row + 1) * step); }
      }
    }
    return path;
  };
  const inSlice = (one, mark) => {
    if (!one.slices) return true;
    const [low, high] = mark.to ? [mark.at[2], mark.to[2]] : [mark.at[2], mark.at[2]];
    const own = one.slices[state.slice];
    const gap = one.slices.length > 1 ? (one.slices[1] - one.slices[0]) / 2 : one.depth;
    return own >= low - gap && own <= high + gap;
  };
  const text = (context, words, x, y, colour, unit) => {
    context.font = `600 ${12 * unit}px system-ui, sans-serif`;
    context.lineWidth = 3 * unit;
    context.strokeStyle = "rgba(0, 0, 0, 0.75)";
    context.strokeText(words, x, y);
    context.fillStyle = colour;
    context.fillText(words, x, y);
  };
  const overlay = async (context, one, row, truth, step, unit) => {
    const dashes = truth ? [5, 4] : [];
    if (row.mask !== null) {
      const labels = await decode(row.mask);
      const size = one.rows * one.columns;
      const offset = size * (one.slices ? state.slice : 0);
      const values = new Set();
      for (let place = 0; place < size; place += 1) values.add(labels[4 * (offset + place)]);
      values.delete(0);
      for (const value of [...values].sort()) {
        const colour = truth ? "#fff" : COLOURS[(value - 1) % COLOURS.length];
        halo(context, outline(labels, offset, one.rows, one.columns, value, step), colour, dashes, unit);
      }
    }
    for (const mark of row.marks ?? []) {
      if (!inSlice(one, mark)) continue;
      const [x, y] = [mark.at[0] * step, mark.at[1] * step];
      const path = new Path2D();
      const colour = truth ? "#fff" : mark.to ? COLOURS[mark.class % COLOURS.length] : COLOURS[0];
      if (mark.to) path.rect(x, y, mark.to[0] * step - x, mark.to[1] * step - y);
      else if (truth) path.arc(x, y, 5 * unit, 0, 7);
      else { path.moveTo(x - 5 * unit, y); path.lineTo(x + 5 * unit, y); path.moveTo(x, y - 5 * unit); path.lineTo(x, y + 5 * unit); }
      halo(context, path, colour, mark.to ? dashes : [], unit);
      const name = data.classes[mark.class] ?? String(mark.class + 1);
      if (mark.to && !truth) text(context, mark.score === undefined ? name : `${name} ${mark.score.toFixed(2)}`, x + 2 * unit, Math.max(y - 3 * unit, 11 * unit), colour, unit);
      else if (!mark.to && !truth) text(context, String(mark.class + 1), x + 6 * unit, y - 4 * unit, colour, unit);
    }
  };

  // Showing a case
  let turn = 0;
  const show = async () => {
    const own = (turn += 1);
    const one = current();
    controls(one);
    if (!one) { caption(null); return; }
    const base = cleanOf(one);
    const row = shownAt(one, state.perturbation, state.severity);
    const view = now().kind === "clean" ? "clean" : state.view;
    caption(one, view, view === "clean" ? base : row, row, base);
    const pixels = await composed(one, view, row, base);
    const canvas = document.createElement("canvas");
    canvas.width = one.columns;
    canvas.height = one.rows;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const scale = scaleFor(one);
    const drawn = document.createElement("canvas");
    drawn.width = Math.max(Math.round(one.columns * scale * ratio), 1);
    drawn.height = Math.max(Math.round(one.rows * scale * ratio), 1);
    const context = drawn.getContext("2d");
    context.imageSmoothingEnabled = view !== "difference";
    context.imageSmoothingQuality = "high";
    context.drawImage(canvas, 0, 0, drawn.width, drawn.height);
    const step = drawn.width / one.columns;
    if (element("truth").checked && one.truth) await overlay(context, one, one.truth, true, step, ratio);
    if (element("found").checked) await overlay(context, one, view === "clean" ? base : row, false, step, ratio);
    if (own !== turn) return;
    const shown = element("picture");
    shown.width = drawn.width;
    shown.height = drawn.height;
    shown.style.width = `${drawn.width / ratio}px`;
    shown.style.height = `${drawn.height / ratio}px`;
    shown.getContext("2d").drawImage(drawn, 0, 0);
    document.body.dataset.shown = `${one.name}/${view}/${state.perturbation}/${state.severity}/${state.slice}`;
  };
  const controls = (one) => {
    element("before").disabled = state.place < 1;
    element("after").disabled = state.place + 1 >= state.chosen.length;
    element("place").textContent = one ? `Case ${one.name}: ${state.place + 1} of ${state.chosen.length}` : "No case";
    const isClean = now().kind === "clean";
    const input = element("severity");
    input.max = String(now().severities.length - 1);
    input.value = String(state.severity);
    input.disabled = now().severities.length < 2;
    element("severity-slide").hidden = isClean;
    const isRadius = now().unit.startsWith("radius");
    document.querySelector("label[for=severity]").textContent = now().kind === "nearest" ? "Smallest radius that was found" : `${now().label}: ${now().unit}`;
    const found = one ? givesWay(one) : null;
    const severity = now().severities[state.severity];
    const say = now().kind === "nearest" ? (found?.when === "" ? radius(found.radius) : found?.when === "clean" ? "0" : `none up to ${severity}`) : severity;
    element("severity-text").textContent = say;
    input.setAttribute("aria-valuetext", `${isRadius ? "radius" : "severity"} ${say}`);
    for (const radio of document.querySelectorAll("#views input")) {
      radio.checked = radio.value === (isClean ? "clean" : state.view);
      radio.disabled = isClean && radio.value !== "clean";
    }
    const slices = one?.slices?.length ?? 0;
    state.slice = Math.max(Math.min(state.slice, slices - 1), 0);
    element("slice-slide").hidden = slices < 2;
    element("slice").max = String(Math.max(slices - 1, 0));
    element("slice").value = String(state.slice);
    element("slice-text").textContent = slices ? `${one.slices[state.slice] + 1} of ${one.depth}` : "";
    element("overlays").hidden = !data.cases.some((case_) => case_.truth);
    element("list").querySelectorAll("button").forEach((button, place) => {
      if (place === state.place) { button.setAttribute("aria-current", "true"); scrollInto(button); } else button.removeAttribute("aria-current");
    });
    table(one);
  };
  const scrollInto = (button) => {
    const holder = element("list");
    const [top, bottom] = [button.offsetTop - holder.offsetTop, button.offsetTop - holder.offsetTop + button.offsetHeight];
    if (top < holder.scrollTop) holder.scrollTop = top;
    else if (bottom > holder.scrollTop + holder.clientHeight) holder.scrollTop = bottom - holder.clientHeight;
  };
  const where = () => `${now().label}, ${now().unit.startsWith("radius") ? "radius" : "severity"} ${element("severity-text").textContent}`;
  const caption = (one, view, shown, row, base) => {
    const holder = element("caption");
    holder.replaceChildren();
    const picture = element("picture");
    if (!one) {
      picture.width = picture.width;
      picture.setAttribute("aria-label", "No case is chosen");
      return;
    }
    const what = view === "clean" ? "Clean" : where();
    const confidence = shown.confidence === null ? "" : `, ${share(shown.confidence)} sure`;
    const said = shown.says ? `${data.runs[state.run]} says ${shown.says}${confidence}` : data.runs[state.run];
    const truth = one.label ? `Truth: ${one.label}. ` : "";
    const bad = data.percent && shown.score === 0;
    holder.append(make("span", `${what}. ${truth}`), make("strong", `${said}${data.percent ? ` (${score(shown.score)})` : ""}.`, bad ? { class: "bad" } : {}));
    if (view !== "clean" && now().unit.startsWith("radius")) holder.append(make("span", ` The change has size ${radius(row.distance)}.`));
    if (view === "difference") {
      const factor = (127 * (base.high - base.low)) / (255 * row.high);
      holder.append(make("span", ` The difference to the clean image around mid-grey, ${factor >= 10 ? factor.toFixed(0) : factor.toPrecision(2)} times as strong as in the picture.`));
    }
    if (one.original[0] !== one.rows || one.original[1] !== one.columns) holder.append(make("span", ` Shown with ${one.columns} × ${one.rows} of ${one.original[1]} × ${one.original[0]} pixels.`, { class: "soft" }));
    picture.setAttribute("aria-label", `Case ${one.name}, ${view}. ${holder.textContent}`);
  };
  const table = (one) => {
    element("table-title").textContent = one ? `Case ${one.name} under ${now().label}` : "";
    const rows = one ? [[clean, 0], ...(now().kind === "clean" ? [] : now().severities.map((text, place) => [state.perturbation, place]))] : [];
    const shown = rows.map(([perturbation, place]) => shownAt(one, perturbation, place));
    const sure = shown.some((row) => row.confidence !== null);
    const heads = [now().unit.startsWith("radius") ? "Radius" : "Severity", "Says", ...(sure ? ["Sure"] : []), data.percent ? "Is" : data.score];
    element("heads").replaceChildren(...heads.map((head) => make("th", head, { scope: "col" })));
    element("rows").replaceChildren(...rows.map(([perturbation, place], index) => {
      const row = make("tr");
      const isClean = perturbation === clean;
      const button = make("button", isClean ? "clean" : now().kind === "nearest" ? element("severity-text").textContent : now().severities[place], { type: "button" });
      button.addEventListener("click", () => {
        if (isClean) state.view = "clean";
        else { state.severity = place; if (state.view === "clean") state.view = "perturbed"; }
        const keyboard = document.activeElement === button;
        show();
        if (keyboard) element("rows").querySelectorAll("button")[index]?.focus();
      });
      const head = make("th", undefined, { scope: "row" });
      head.append(button);
      const bad = data.percent && shown[index].score === 0 ? { class: "bad" } : {};
      row.append(head, make("td", shown[index].says || DASH, bad));
      if (sure) row.append(make("td", share(shown[index].confidence)));
      row.append(make("td", score(shown[index].score), bad));
      const isShown = state.view === "clean" || now().kind === "clean" ? isClean : !isClean && place === state.severity;
      if (isShown) row.setAttribute("aria-current", "true");
      return row;
    }));
  };

  // Moving about
  const step = (by) => { const place = state.place + by; if (place >= 0 && place < state.chosen.length) { state.place = place; show(); } };
  const harder = (by) => {
    const last = now().severities.length - 1;
    if (state.view === "clean" && by > 0 && now().kind !== "clean") { state.view = "perturbed"; show(); return; }
    state.severity = Math.min(Math.max(state.severity + by, 0), last);
    show();
  };
  const sliced = (by) => { state.slice += by; show(); };
  const look = (view) => { if (now().kind !== "clean") { state.view = view; show(); } };
  const blink = () => look(state.view === "clean" ? "perturbed" : "clean");
  const toggle = (id) => { element(id).checked = !element(id).checked; show(); };
  const KEYS = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => harder(1),
    ArrowDown: () => harder(-1),
    PageUp: () => sliced(1),
    PageDown: () => sliced(-1),
    Home: () => step(-state.place),
    End: () => step(state.chosen.length - 1 - state.place),
    " ": blink,
    d: () => look(state.view === "difference" ? "perturbed" : "difference"),
    o: () => toggle("found"),
    t: () => toggle("truth"),
    p: () => setPerturbation((state.perturbation + 1) % data.perturbations.length),
    r: () => setRun((state.run + 1) % data.runs.length),
  };
  document.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const on = event.target.tagName;
    if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[key] || on === "SELECT") return;
    if (on === "INPUT" && key.length > 1) return; // a slider and radio buttons have arrow keys of their own
    if (key === " " && ["INPUT", "BUTTON", "SUMMARY", "A"].includes(on)) return;
    event.preventDefault();
    KEYS[key]();
  });
  // After a click with the mouse, arrow keys and space go on with the cases.
  document.addEventListener("click", (event) => {
    if (event.detail > 0 && event.target.closest(".pick, .bar, #list, #rows")) document.activeElement?.blur();
  });
  const stage = element("stage");
  let down = null;
  stage.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; });
  stage.addEventListener("pointercancel", () => { down = null; });
  stage.addEventListener("pointerup", (event) => {
    if (!down) return;
    const [x, y] = [event.clientX - down[0], event.clientY - down[1]];
    down = null;
    if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(y)) step(x < 0 ? 1 : -1);
    else if (Math.hypot(x, y) < 8) blink();
  });
  element("before").addEventListener("click", () => step(-1));
  element("after").addEventListener("click", () => step(1));
  element("severity").addEventListener("input", (event) => {
    state.severity = Number(event.target.value);
    if (state.view === "clean") state.view = "perturbed";
    show();
  });
  element("slice").addEventListener("input", (event) => { state.slice = Number(event.target.value); show(); });
  for (const radio of document.querySelectorAll("#views input")) radio.addEventListener("change", () => look(radio.value));
  for (const id of ["found", "truth"]) element(id).addEventListener("change", show);
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(show, 100); });

  const numbered = (names) => names.map((name, index) => [String(index), name]);
  field("run", "Run", numbered(data.runs), () => setRun(Number(fields.run.value)), "what");
  field("perturbation", "Perturbation", numbered(data.perturbations.map((one) => one.label)), () => setPerturbation(Number(fields.perturbation.value)), "what");
  field("order", "Order", [["radius", "gives way first"], ["radiusLast", "holds longest"], ["score", `${data.score} when clean`], ["number", "case number"]], choose);
  field("held", data.task === "classification" ? "Class" : "Holds", data.held.length ? [["", "any"], ...data.held.map((name) => [name, name])] : [], choose);
  const outcomes = data.percent ? [["right", "right when clean"], ["wrong", "wrong when clean"]] : [];
  field("outcome", "Outcome", [["", "any"], ...outcomes, ["never", "never gives way"]], choose);
  field("within", "Gives way", [["", "or not"]], choose);
  for (const [name, values] of Object.entries(data.groups)) field(`group ${name}`, name, [["", "any"], ...values.map((value) => [value, value || "(none)"])], choose);
  setPerturbation(state.perturbation);
})();
