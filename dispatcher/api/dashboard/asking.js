// The same question again and again, of which only the last answer counts.

/** Questions of one section. A late answer to an older one does not hide a newer one. */
export class Asking {
  constructor() {
    this.last = null; // the last question, until it is answered
  }

  /** Whether the last question has no answer yet. */
  get isOpen() {
    return this.last !== null;
  }

  /** Find something and show it; what went wrong is given to `fail`. */
  async ask(find, show, fail) {
    const mine = (this.last = Symbol("a question"));
    try {
      const found = await find();
      if (mine === this.last) show(found);
    } catch (error) {
      if (mine === this.last) fail(error);
    } finally {
      if (mine === this.last) this.last = null;
    }
  }
}
