// Elements. What comes from messages only ever becomes text here: there is no way to put in HTML,
// and the Content-Security-Policy (require-trusted-types-for) forbids every other way.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; functions among the attributes listen to the event of their name. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** The element with an id, which is there. */
export function byId(id) {
  return document.getElementById(id);
}

/** Set a text, but leave the node alone when it says so already: live regions would repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put other nodes into a container. The focus goes to what has the name of what had it, and where
 * that is gone to the title of the section: never to the top of the page. */
export function swap(container, nodes) {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  const name = focused && nameOf(focused);
  container.replaceChildren(...nodes);
  if (!focused) return;
  const same = [...container.querySelectorAll("a, button")].find((one) => nameOf(one) === name);
  (same ?? container.closest("section").querySelector("h2")).focus();
}

/** A table that stays one for screen readers when a narrow screen shows its rows as cards.
 *
 * `columns` are `{title, label, isNumber, isHeader, isWide, isBroad,
 * isTight, isActions, isPick}`; a `title` may be a node, and then
 * `label` says on narrow screens what the cell is. */
export function table(caption, columns) {
  const heads = columns.map((column) =>
    h("th", { scope: "col", role: "columnheader", class: kindOf(column) }, column.title),
  );
  const body = h("tbody", { role: "rowgroup" });
  const element = h(
    "table",
    { role: "table" },
    h("caption", {}, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)),
    body,
  );
  return { element, body, heads, row: (cells) => row(columns, cells) };
}

/** Show rows in this order, and forget those of `known` (rows by key) whose key is not in `keys`.
 *
 * What is there stays where it is: a button must not be another one when it is pressed. */
export function arrange(body, known, keys, rows) {
  const kept = new Set(keys);
  for (const [key, row] of known) {
    if (kept.has(key)) continue;
    row.element.remove();
    known.delete(key);
  }
  rows.forEach(({ element }, at) => {
    if (body.children[at] !== element) body.insertBefore(element, body.children[at] ?? null);
  });
}

/** A word in a frame: a state. */
export function tag(text, kind = "") {
  return h("span", { class: `tag ${kind}` }, text);
}

/** A list of terms; those without a value are left out. */
export function terms(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  return h(
    "dl",
    { class: "terms" },
    ...shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function nameOf(element) {
  return element.getAttribute("aria-label") ?? element.textContent;
}

function row(columns, cells) {
  return h("tr", { role: "row" }, ...columns.map((column, at) => cell(column, cells[at])));
}

function cell(column, content) {
  const label = column.label ?? (typeof column.title === "string" ? column.title : "");
  const shared = { class: kindOf(column), "data-label": label };
  return column.isHeader
    ? h("th", { ...shared, scope: "row", role: "rowheader" }, content)
    : h("td", { ...shared, role: "cell" }, content);
}

function kindOf(column) {
  return [
    column.isNumber && "number",
    column.isWide && "wide",
    column.isBroad && "broad",
    column.isTight && "tight",
    column.isActions && "actions",
    column.isPick && "pick",
  ]
    .filter(Boolean)
    .join(" ");
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined && value !== "")
      element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
