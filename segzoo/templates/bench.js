"use strict";
// The table is whole without this script; with it, rows can be sorted and filtered.
const table = document.getElementById("results");
const body = table.tBodies[0];
const shown = document.getElementById("shown");
const filter = document.getElementById("filter");

function valueOf(row, column) {
  const text = row.cells[column].dataset.value;
  const number = Number(text);
  return text === "" ? null : Number.isNaN(number) ? text : number;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other));
}

function sortBy(header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const column = header.cellIndex;
  const rows = Array.from(body.rows, (row) => [valueOf(row, column), row]);
  rows.sort(([one], [other]) => {
    // What is not known comes last, whichever way.
    if (one === null || other === null) return (one === null) - (other === null);
    return down ? compare(other, one) : compare(one, other);
  });
  body.append(...rows.map(([, row]) => row));
}

function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of body.rows) {
    const text = Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    count += !row.hidden;
  }
  shown.textContent = `${count} of ${body.rows.length} rows`;
}

for (const button of table.tHead.querySelectorAll("button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
filter.addEventListener("input", applyFilter);
filter.parentElement.hidden = false;
applyFilter();
