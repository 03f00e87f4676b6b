"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const UNITS = 8192; // of a view's longer side, as report_pictures.py gives keypoints
  const SVG = "http://www.w3.org/2000/svg";
  const by = id => document.getElementById(id);
  const sides = data.names.map(name => name.includes("left") ? "left" : name.includes("right") ? "right" : "middle");

  function numbersOf(text) {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, at) => view.getInt16(2 * at, true));
  }

  // Of one person, by the keypoint's number: x and y in units of the view, and the score.
  function pointsOf(person) {
    const numbers = numbersOf(person.k), points = new Map();
    for (let at = 0; 3 * at < numbers.length; at++) {
      points.set(person.i ? person.i[at] : at, { x: numbers[3 * at], y: numbers[3 * at + 1], score: numbers[3 * at + 2] / 1000 });
    }
    return points;
  }

  function element(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function sideOf(start, end) {
    if (sides[start] === "middle") return sides[end];
    return sides[end] === "middle" || sides[start] === sides[end] ? sides[start] : "middle";
  }

  function drawPerson(svg, person, pixel, least, isOther) {
    const points = pointsOf(person), box = numbersOf(person.b), side = Math.max(box[2] - box[0], box[3] - box[1]);
    const unit = Math.max(pixel / 3, Math.min(pixel, side / 80)), seen = at => points.has(at) && points.get(at).score >= least;
    const lines = { left: "", right: "", middle: "" }, dots = { left: "", right: "", middle: "" };
    for (const [start, end] of data.skeleton) {
      if (!seen(start) || !seen(end)) continue;
      const one = points.get(start), other = points.get(end);
      lines[sideOf(start, end)] += `M${one.x} ${one.y}L${other.x} ${other.y}`;
    }
    for (const [at, point] of points) if (seen(at)) dots[sides[at]] += `M${point.x} ${point.y}h0`;
    svg.append(element("rect", { class: isOther ? "box other" : "box", x: box[0], y: box[1], width: Math.max(1, box[2] - box[0]), height: Math.max(1, box[3] - box[1]), "stroke-width": unit }));
    const fine = points.size > 32 ? 2.2 : 4.4;
    const all = kind => kind.left + kind.right + kind.middle;
    svg.append(element("path", { class: "edge", d: all(lines), "stroke-width": 3.6 * unit }));
    for (const side in lines) svg.append(element("path", { class: `lines ${side}`, d: lines[side], "stroke-width": 2 * unit }));
    svg.append(element("path", { class: "edge", d: all(dots), "stroke-width": (fine + 1.4) * unit }));
    for (const side in dots) svg.append(element("path", { class: `dots ${side}`, d: dots[side], "stroke-width": fine * unit }));
    return points;
  }

  // Fills a place with the picture and who is drawn on it; gives the SVG, how large a px is in it, and the points.
  function draw(place, entry, pixels, least) {
    const [left, top, width, height] = entry.view, scale = UNITS / Math.max(width, height);
    const wide = width * scale, high = height * scale, unit = UNITS / pixels;
    place.textContent = "";
    if (entry.image) {
      const image = new Image();
      image.alt = "";
      image.src = entry.image;
      place.append(image);
    }
    const svg = element("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `Skeleton on ${entry.name}` });
    if (!entry.image) svg.append(element("rect", { class: "bound", x: -left * scale, y: -top * scale, width: entry.size[0] * scale, height: entry.size[1] * scale, "stroke-width": unit }));
    const drawn = entry.people.map((person, at) => drawPerson(svg, person, unit, least, at > 0 && entry.one));
    place.append(svg);
    if (entry.why) {
      const why = document.createElement("span");
      why.className = "why";
      why.textContent = `no photograph: ${entry.why}`;
      place.append(why);
    }
    return { svg, unit, drawn };
  }

  function tag(reason) {
    const made = document.createElement("i");
    made.className = "tag";
    made.textContent = reason.replaceAll("_", " ");
    return made;
  }

  function card(entry) {
    const button = document.createElement("button"), picture = document.createElement("span"), words = document.createElement("span");
    button.type = "button";
    button.className = "card";
    picture.className = "picture";
    words.className = "words";
    draw(picture, entry, 220, data.threshold);
    const name = document.createElement("b");
    name.textContent = entry.name;
    words.append(name, `${entry.who}, score ${entry.score.toFixed(2)} `, ...entry.reasons.map(tag));
    if (entry.details) words.append(document.createElement("br"), entry.details);
    button.append(picture, words);
    return button;
  }

  // The galleries.
  const galleries = [...document.querySelectorAll("[data-gallery]")].map(section => {
    const cards = data.galleries[section.dataset.gallery].map(number => {
      const entry = data.entries[number], button = card(entry);
      button.addEventListener("click", () => open(gallery, entry));
      return { entry, button };
    });
    const gallery = { section, cards, place: section.querySelector(".cards"), none: section.querySelector(".none"), shown: cards };
    gallery.place.append(...cards.map(each => each.button));
    gallery.place.addEventListener("keydown", event => step(gallery, event));
    return gallery;
  });

  const MOVES = { ArrowRight: 1, ArrowLeft: -1 };
  function step(gallery, event) {
    const at = gallery.shown.findIndex(each => each.button === document.activeElement);
    if (at < 0) return;
    const columns = getComputedStyle(gallery.place).gridTemplateColumns.split(" ").length;
    const move = MOVES[event.key] || { ArrowDown: columns, ArrowUp: -columns }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? gallery.shown.length - 1 : move && at + move;
    if (to === undefined || !gallery.shown[to]) return;
    event.preventDefault();
    gallery.shown[to].button.focus();
  }

  const ORDERS = {
    score: (one, other) => one.entry.score - other.entry.score,
    "-score": (one, other) => other.entry.score - one.entry.score,
    "-suspicion": (one, other) => other.entry.suspicion - one.entry.suspicion,
    name: (one, other) => one.entry.name < other.entry.name ? -1 : one.entry.name > other.entry.name ? 1 : 0,
  };
  function filter() {
    const name = by("f-name").value.toLowerCase(), reason = by("f-reason").value, order = ORDERS[by("f-order").value];
    const low = by("f-low").value === "" ? -Infinity : +by("f-low").value, high = by("f-high").value === "" ? Infinity : +by("f-high").value;
    const fits = entry => entry.name.toLowerCase().includes(name) && entry.score >= low && entry.score <= high && (!reason || entry.reasons.includes(reason));
    let all = 0, left = 0;
    for (const gallery of galleries) {
      const cards = order ? [...gallery.cards].sort(order) : gallery.cards;
      gallery.shown = cards.filter(each => fits(each.entry));
      gallery.place.replaceChildren(...gallery.shown.map(each => each.button));
      gallery.none.hidden = gallery.shown.length > 0;
      all += cards.length;
      left += gallery.shown.length;
    }
    by("f-count").textContent = `${left} of ${all} shown`;
  }
  if (galleries.length) {
    for (const id of ["f-name", "f-low", "f-high", "f-reason", "f-order"]) by(id).addEventListener("input", filter);
    filter();
  }

  // One picture.
  const dialog = by("shown");
  let now = null;
  function open(gallery, entry) {
    now = { gallery, entry, opener: document.activeElement, person: 0 };
    show();
    dialog.showModal();
    by("s-close").focus();
  }

  function show() {
    const { entry } = now, least = by("s-all").checked ? -Infinity : data.threshold;
    by("s-name").textContent = entry.name;
    const told = by("s-told");
    told.textContent = `${entry.who}, score ${entry.score.toFixed(3)}, picture of ${entry.size[0]}×${entry.size[1]} px. `;
    told.append(...entry.reasons.map(tag), entry.details);
    now.drawing = draw(by("s-picture"), entry, 640, least);
    const person = by("s-person");
    by("s-person-label").hidden = entry.people.length < 2;
    person.replaceChildren(...entry.people.map((_, at) => new Option(`${at + 1} of ${entry.people.length}`, at)));
    person.value = now.person = Math.min(now.person, entry.people.length - 1);
    if (by("s-names").checked) writeNames(least);
    fillTable(entry);
  }

  function writeNames(least) {
    const { svg, unit, drawn } = now.drawing;
    for (const [at, point] of drawn[now.person] || []) {
      if (point.score < least) continue;
      const text = element("text", { class: "name", x: point.x + 6 * unit, y: point.y + 4 * unit, "font-size": 12 * unit, "stroke-width": 3 * unit }, data.names[at]);
      svg.append(text);
    }
  }

  function fillTable(entry) {
    const body = by("s-keypoints").tBodies[0], [left, top, width, height] = entry.view;
    const scale = Math.max(width, height) / UNITS, points = [...(now.drawing.drawn[now.person] || [])];
    if (by("s-order").value === "score") points.sort((one, other) => one[1].score - other[1].score);
    body.replaceChildren(...points.map(([at, point]) => {
      const row = document.createElement("tr");
      row.tabIndex = 0;
      row.className = point.score < data.threshold ? "low" : "";
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = data.names[at];
      row.append(head);
      for (const value of [point.score.toFixed(3), (left + point.x * scale).toFixed(1), (top + point.y * scale).toFixed(1)]) {
        const cell = document.createElement("td");
        cell.className = "num";
        cell.textContent = value;
        row.append(cell);
      }
      for (const event of ["focus", "pointerenter"]) row.addEventListener(event, () => mark(row, at, point));
      return row;
    }));
  }

  function mark(row, at, point) {
    const { svg, unit } = now.drawing;
    for (const each of document.querySelectorAll("#s-keypoints tr.on")) each.classList.remove("on");
    for (const each of svg.querySelectorAll(".mark, .marked")) each.remove();
    row.classList.add("on");
    svg.append(element("circle", { class: "mark", cx: point.x, cy: point.y, r: 9 * unit, "stroke-width": 3 * unit }));
    svg.append(element("text", { class: "name marked", x: point.x + 12 * unit, y: point.y - 8 * unit, "font-size": 14 * unit, "stroke-width": 3 * unit }, data.names[at]));
  }

  function go(by) {
    const { gallery, entry } = now, at = gallery.shown.findIndex(each => each.entry === entry), next = gallery.shown[at + by];
    if (!next) return;
    now.entry = next.entry;
    now.opener = next.button;
    now.person = 0;
    show();
  }

  by("s-close").addEventListener("click", () => dialog.close());
  by("s-before").addEventListener("click", () => go(-1));
  by("s-after").addEventListener("click", () => go(1));
  for (const id of ["s-names", "s-all", "s-order"]) by(id).addEventListener("input", show);
  by("s-person").addEventListener("input", () => {
    now.person = +by("s-person").value;
    show();
  });
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => now && now.opener.focus());
  dialog.addEventListener("keydown", event => {
    if (!MOVES[event.key] || event.target.matches("select, input")) return;
    event.preventDefault();
    go(MOVES[event.key]);
  });
})();
