// Which rows of a list are chosen: some by their ids, or all that match its filter.

import { h, setText } from "./dom.js";
import { plural } from "./format.js";
import { button } from "./values.js";

export class Selection {
  /** `noun` is of what is chosen; `actions` are `[text, act, kind]`, `act` is called with what is
   * chosen: `{ids}`, or `{ids: null}` for all that match. */
  constructor(noun, actions) {
    this.noun = noun;
    this.ids = new Set();
    this.isAll = false;
    this.boxes = new Map(); // by id, of the rows that are shown
    this.said = h("span", { class: "said", role: "status" });
    this.every = button(`Choose all that match`, () => this.chooseAll(), { kind: "small" });
    this.none = button("Choose none", () => this.clear(), { kind: "small quiet" });
    this.buttons = actions.map(([text, act, kind]) =>
      button(text, () => this.act(act), { kind: `small ${kind ?? ""}` }),
    );
    this.head = h("input", { type: "checkbox", "aria-label": "Choose all on this page" });
    this.head.addEventListener("change", () => this.choosePage(this.head.checked));
    this.element = h(
      "div",
      { class: "selection", role: "group", "aria-label": `What is done with ${noun}s` },
      h("div", { class: "tools" }, this.said, this.every, this.none),
      h("div", { class: "tools" }, ...this.buttons),
    );
    this.show();
  }

  /** A box for a row; what was chosen before stays so. */
  box(id) {
    const input = h("input", { type: "checkbox", "aria-label": `Choose ${id}` });
    input.addEventListener("change", () => this.choose(id, input.checked));
    this.boxes.set(id, input);
    return input;
  }

  /** Other rows are shown from now on, of the same filter or of another one. */
  turn({ isSameFilter }) {
    this.boxes.clear();
    if (!isSameFilter) this.clear();
  }

  /** Put the boxes right, once rows are there. */
  show() {
    for (const [id, input] of this.boxes) input.checked = this.isAll || this.ids.has(id);
    const shown = [...this.boxes.values()];
    this.head.checked = shown.length > 0 && shown.every((input) => input.checked);
    this.head.indeterminate = !this.head.checked && shown.some((input) => input.checked);
    setText(this.said, this.inWords());
    this.every.hidden = this.isAll;
    this.none.hidden = !this.isAll && this.ids.size === 0;
    for (const one of this.buttons) one.setAttribute("aria-disabled", String(!this.hasAny()));
  }

  hasAny() {
    return this.isAll || this.ids.size > 0;
  }

  clear() {
    this.ids.clear();
    this.isAll = false;
    this.show();
  }

  chooseAll() {
    this.isAll = true;
    this.show();
  }

  choosePage(isChosen) {
    for (const id of this.boxes.keys()) this.put(id, isChosen);
    this.show();
  }

  choose(id, isChosen) {
    this.put(id, isChosen);
    this.show();
  }

  // Who takes one out of all that match means the others on the page.
  put(id, isChosen) {
    if (this.isAll) {
      this.isAll = false;
      this.ids = new Set(this.boxes.keys());
    }
    if (isChosen) this.ids.add(id);
    else this.ids.delete(id);
  }

  act(act) {
    if (this.hasAny()) act({ ids: this.isAll ? null : [...this.ids] });
  }

  inWords() {
    if (this.isAll) return `All ${this.noun}s that match are chosen, those on other pages too.`;
    return this.ids.size === 0 ? "None is chosen." : `${plural(this.ids.size, this.noun)} chosen.`;
  }
}
