"use strict";
// Every table of class "data": a click on a heading sorts, a word filters, a button saves what is shown as CSV.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  if (rows.length < 2) continue;
  const bar = document.createElement("div"), box = table.parentElement;
  bar.className = "bar";
  const word = document.createElement("input");
  word.type = "search";
  word.placeholder = "filter";
  word.setAttribute("aria-label", "Show only lines with this text");
  const shown = document.createElement("span");
  shown.setAttribute("role", "status");
  const save = document.createElement("button");
  save.type = "button";
  save.textContent = "CSV";
  save.title = "Save the lines shown as CSV";
  bar.append(word, shown, save);
  box.before(bar);

  const texts = rows.map((row) => row.textContent.toLowerCase());
  word.addEventListener("input", () => {
    const wanted = word.value.toLowerCase();
    rows.forEach((row, i) => { row.hidden = !texts[i].includes(wanted); });
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = wanted ? `${left} of ${rows.length}` : "";
  });

  const place = new Map(rows.map((row, i) => [row, i]));
  const key = (row, column) => {
    const cell = row.cells[column], raw = cell.dataset.sort ?? "", number = Number(raw);
    if (raw !== "") return Number.isNaN(number) ? raw : number;
    const text = cell.textContent.trim();
    return text === "–" ? null : text;
  };
  const compare = (a, b) => {
    if (a === null || b === null) return 0;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = typeof key(rows[0], column) === "number" ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const sorted = [...rows].sort((x, y) => {
        const a = key(x, column), b = key(y, column);
        if ((a === null) !== (b === null)) return a === null ? 1 : -1; // what is not known comes last
        return sign * compare(a, b) || place.get(x) - place.get(y);
      });
      body.append(...sorted);
    });
  });

  const field = (cell) => {
    let text = cell.dataset.csv ?? cell.textContent.trim();
    if (/^[=@+\-\t\r]/.test(text) && Number.isNaN(Number(text))) text = "'" + text; // no formula for a spreadsheet
    return '"' + text.replaceAll('"', '""') + '"';
  };
  save.addEventListener("click", () => {
    const lines = [table.tHead.rows[0], ...body.rows].filter((row) => !row.hidden);
    const csv = lines.map((row) => [...row.cells].map(field).join(",")).join("\r\n") + "\r\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff" + csv], { type: "text/csv" }));
    link.download = (table.dataset.name || "table") + ".csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
