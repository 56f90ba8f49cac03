// A search field and choices above each table.filterable: a header cell with data-choice becomes a choice among the
// values of its column, and its attribute says which is chosen at first (empty: all).
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.filterable")) makeFilter(table);
});

function makeFilter(table) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    text: row.textContent.toLowerCase(),
    cells: [...row.cells].map((cell) => cell.textContent.trim()),
  }));
  for (const { row } of rows) [...row.cells].forEach((cell, i) => (cell.dataset.head = heads[i].textContent)); // for phones
  const search = Object.assign(document.createElement("input"), { type: "search", placeholder: "any words" });
  const form = document.createElement("form");
  form.className = "filter";
  form.append(labelled("search", search));

  const choices = [];
  heads.forEach((head, column) => {
    if (head.dataset.choice === undefined) return;
    const select = document.createElement("select");
    select.add(new Option("all", ""));
    for (const value of new Set(rows.map(({ cells }) => cells[column]))) select.add(new Option(value, value));
    select.value = head.dataset.choice;
    if (select.selectedIndex < 0) select.value = "";
    choices.push({ column, select });
    form.append(labelled(head.textContent, select));
  });

  const count = Object.assign(document.createElement("output"), { className: "count" });
  form.append(count);
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  table.closest(".table-box").before(form);
  apply();

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text, cells } of rows) {
      const chosen = choices.every(({ column, select }) => !select.value || cells[column] === select.value);
      row.hidden = !(chosen && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} lines`;
  }
}

function labelled(text, field) {
  const label = document.createElement("label");
  label.append(text, field);
  return label;
}
