// Headings of tables sort them: numbers by value, largest first, text by the alphabet.
"use strict";
const spoken = document.getElementById("spoken");
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.querySelectorAll("thead th"));
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const numeric = rows.some((row) => row.cells[column].dataset.v !== undefined);
    const before = head.getAttribute("aria-sort");
    const order = before === "none" ? (numeric ? "descending" : "ascending") : before === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.v;
    rows.sort((a, b) => {
      if (!numeric) return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent, undefined, { numeric: true });
      if (!value(a) || !value(b)) return (value(a) ? 0 : 1) - (value(b) ? 0 : 1); // what is not there comes last
      return sign * (Number(value(a)) - Number(value(b)));
    });
    body.append(...rows);
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
    spoken.textContent = `${table.caption.textContent}: sorted by ${head.textContent}, ${order}`;
  }));
}
