"use strict";
// Sorts the tables and holds two of their rows side by side. Cells are text and stay text: nothing is parsed as HTML.

const NUMBER = /^\[?([+-]?(?:\d[\d,]*)?\.?\d+(?:e[+-]?\d+)?)\s*(%?)(?:\s*±.*|\s*,.*|\s*\(×.*|\s*\*)?\]?$/i;
const TIME = /^(\d+):(\d\d):(\d\d)$/;

/** The number a cell begins with: 0.51 of "0.51 ± 0.02", 1234 of "1,234", seconds of "1:02:03"; null for a text. */
function number(text) {
  const time = TIME.exec(text);
  if (time) return Number(time[1]) * 3600 + Number(time[2]) * 60 + Number(time[3]);
  const found = NUMBER.exec(text);
  return found ? Number(found[1].replaceAll(",", "")) : null;
}

/** Numbers before texts. */
function order(a, b) {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return x - y;
  if (x !== null || y !== null) return x !== null ? -1 : 1;
  return a.localeCompare(b, "en", { numeric: true });
}

function textOf(row, column) {
  return row.cells[column].textContent.trim();
}

function sortBy(heading) {
  const table = heading.closest("table");
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = [...table.tBodies[0].rows].map((row) => [textOf(row, heading.cellIndex), row]);
  const filled = rows.filter(([text]) => text !== "");
  const empty = rows.filter(([text]) => text === ""); // at the end in both directions
  filled.sort(([a], [b]) => sign * order(a, b));
  table.tBodies[0].append(...[...filled, ...empty].map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
}

// --- two rows side by side -------------------------------------------------------------------------------------------

const panel = document.getElementById("versus");
const tables = [...document.querySelectorAll("main table")];
let chosen = []; // at most two of {cohort, name}, the first one first

function rowOf(table, name) {
  return [...table.tBodies[0].rows].find((row) => row.dataset.name === name);
}

function columnOf(table, name) {
  return [...table.tHead.rows[0].cells].findIndex((cell, index) => index > 0 && cell.textContent.trim() === name);
}

/** What a table says of the two names, as [what, first, second]: of two rows a line a column, of two columns a line a row. */
function lines(table, [first, second]) {
  const head = table.tHead.rows[0].cells;
  const [one, two] = [rowOf(table, first), rowOf(table, second)];
  if (one && two) {
    const boxes = head[0].classList.contains("pick") ? 1 : 0;
    const start = boxes + Number(table.dataset.names);
    return [...head].slice(start).map((cell, i) => [cell.textContent.trim(), textOf(one, start + i), textOf(two, start + i)]);
  }
  const [left, right] = [columnOf(table, first), columnOf(table, second)];
  if (left < 0 || right < 0) return [];
  return [...table.tBodies[0].rows].map((row) => [textOf(row, 0), textOf(row, left), textOf(row, right)]);
}

function clock(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** Second minus first in the form of the cells; a word where they are no numbers. */
function difference(first, second) {
  if (first === second) return "same";
  const [a, b] = [number(first), number(second)];
  if (a === null || b === null || first.startsWith("[")) return "differs";
  const sign = b < a ? "−" : "+";
  if (TIME.test(first)) return sign + clock(Math.abs(b - a));
  const digits = Math.max(...[first, second].map((text) => (NUMBER.exec(text)[1].split(".")[1] || "").length));
  const form = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const unit = NUMBER.exec(first)[2] ? " points" : "";
  return sign + Math.abs(b - a).toLocaleString("en-US", form) + unit;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function lineElement([what, first, second]) {
  const row = element("tr", "");
  const apart = difference(first, second);
  if (apart === "same") row.className = "same";
  row.append(element("th", what, { scope: "row" }), element("td", first), element("td", second), element("td", apart));
  return row;
}

function showPanel() {
  const names = chosen.map((each) => each.name);
  panel.hidden = names.length < 2;
  if (panel.hidden) return;
  const table = element("table", "");
  const head = element("tr", "");
  head.append(...["", ...names, "second − first"].map((text) => element("th", text, { scope: "col" })));
  table.createTHead().append(head);
  for (const source of tables.filter((each) => each.dataset.cohort === chosen[0].cohort)) {
    const found = lines(source, names).filter(([, first, second]) => first || second);
    if (!found.length) continue;
    const part = element("tbody", "", { class: "part" });
    const title = element("tr", "");
    if (found.every(([, first, second]) => first === second)) title.className = "same";
    title.append(element("th", source.dataset.title, { colspan: 4, scope: "colgroup" }));
    part.append(title, ...found.map(lineElement));
    table.append(part);
  }
  panel.querySelector(".scroll").replaceChildren(table);
}

function choose(cohort, name, on) {
  chosen = chosen.filter((each) => each.cohort === cohort && each.name !== name);
  if (on) chosen = [...chosen, { cohort, name }].slice(-2);
  for (const box of document.querySelectorAll("td.pick input")) {
    const row = box.closest("tr");
    const of = box.closest("table").dataset.cohort;
    box.checked = chosen.some((each) => each.cohort === of && each.name === row.dataset.name);
    row.classList.toggle("chosen", box.checked);
  }
  showPanel();
}

function closePanel() {
  for (const { cohort, name } of chosen) choose(cohort, name, false);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button && button.classList.contains("sort")) sortBy(button.closest("th"));
  if (button && button.id === "close") closePanel();
});
document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.id === "only") panel.classList.toggle("only", box.checked);
  if (box.matches("td.pick input")) choose(box.closest("table").dataset.cohort, box.closest("tr").dataset.name, box.checked);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closePanel();
});
