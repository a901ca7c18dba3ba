// A form that narrows a list. What it asks for stands in the address: it can be sent to others, and
// Back leads to the list before.

import { h, setText } from "./dom.js";

/** The type of a field for an instant: what is typed is UTC, and stands so in the address. */
const INSTANT = "datetime-local";

export class FilterForm {
  /** A form of the section with this name in the address.
   *
   * `fields` are `{name, label, hint, choices, isCheck, isCode, isWide, isShort, type}`: a text unless it
   * has `choices` (`[value, text]`, applied as soon as one is taken) or is a check. `again` is
   * called when somebody asks for what is shown already. */
  constructor(section, fields, again = () => {}) {
    this.section = section;
    this.fields = fields;
    this.again = again;
    this.inputs = new Map(fields.map((field) => [field.name, this.input(field)]));
    this.clear = h("a", { class: "button quiet", href: `#/${section}` }, "Clear filter");
    this.toggle = h(
      "button",
      { type: "button", class: "narrow-only", "aria-expanded": "false" },
      "Filter",
    );
    this.element = h(
      "form",
      { class: "filter", role: "search", autocomplete: "off", submit: (event) => this.submit(event) },
      this.toggle,
      h(
        "div",
        { class: "fields" },
        ...fields.map((field) => this.field(field)),
        h(
          "div",
          { class: "field-buttons" },
          h("button", { type: "submit", class: "primary" }, "Show"),
          this.clear,
        ),
      ),
    );
    foldOnPhones(this.element, this.toggle);
  }

  /** Show what the address asks for. */
  show(query) {
    for (const { name, isCheck, type } of this.fields) {
      const input = this.inputs.get(name);
      if (isCheck) input.checked = query.get(name) === "true";
      else if (type === INSTANT) input.value = (query.get(name) ?? "").slice(0, 19); // without a zone
      else input.value = query.get(name) ?? "";
    }
    const number = this.fields.filter(({ name }) => query.has(name)).length;
    this.clear.hidden = number === 0;
    setText(this.toggle, number === 0 ? "Filter" : `Filter (${number})`);
  }

  /** What the form says, as the API and the address have it; without what is empty. */
  query() {
    const found = new URLSearchParams();
    for (const { name, isCheck, type } of this.fields) {
      const input = this.inputs.get(name);
      const value = isCheck ? String(input.checked || "") : input.value.trim();
      if (value !== "") found.set(name, type === INSTANT ? inUtc(value) : value);
    }
    return found;
  }

  /** Go to the list that the form asks for. */
  go() {
    const query = this.query();
    const address = `#/${this.section}${query.size ? `?${query}` : ""}`;
    if (location.hash === address) this.again();
    else location.hash = address;
  }

  submit(event) {
    event.preventDefault();
    this.go();
  }

  input({ name, choices, isCheck, isCode, hint, type }) {
    const id = `${this.section}-${name}`;
    const described = hint ? `${id}-hint` : null;
    const now = { change: () => this.go() };
    if (isCheck) return h("input", { id, type: "checkbox", ...now });
    if (choices) {
      const options = choices.map(([value, text]) => {
        const option = h("option", {}, text);
        option.value = value;
        return option;
      });
      return h("select", { id, "aria-describedby": described, ...now }, ...options);
    }
    return h("input", {
      id,
      type: type ?? "text",
      step: type === INSTANT ? "1" : null,
      class: isCode ? "code" : "",
      spellcheck: "false",
      autocapitalize: "off",
      "aria-describedby": described,
    });
  }

  field({ name, label, hint, isCheck, isWide, isShort }) {
    const input = this.inputs.get(name);
    if (isCheck) return h("label", { class: "check", for: input.id }, input, label);
    return h(
      "div",
      { class: `field ${isWide ? "grow" : ""} ${isShort ? "short" : ""}` },
      h("label", { for: input.id }, label),
      input,
      hint ? h("small", { id: `${input.id}-hint` }, hint) : null,
    );
  }
}

/** What a field for an instant has, as the API takes it. */
function inUtc(text) {
  return `${text.length === 16 ? `${text}:00` : text}Z`;
}

/** Let a button show and hide the fields of a form; only phones have the button. */
export function foldOnPhones(form, toggle) {
  toggle.addEventListener("click", () => {
    const isOpen = form.toggleAttribute("data-open");
    toggle.setAttribute("aria-expanded", String(isOpen));
  });
}
