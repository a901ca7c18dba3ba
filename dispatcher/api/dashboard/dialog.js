// The one dialog: asks before something that can't be taken back.

import { inWords } from "./api.js";
import { byId, h } from "./dom.js";
import { notify } from "./notice.js";

/** Ask; true once it was done.
 *
 * `dismiss` is the button that changes nothing. `act` does it when it is confirmed. What it throws is told, and it can be tried again. Closing the
 * dialog meanwhile does not stop it: `act` then goes on by itself and says what came of it. */
export function ask({ title, text, confirm, dismiss = "Cancel", isDanger = false, act }) {
  const dialog = byId("dialog");
  const yes = byId("dialog-confirm");
  const no = byId("dialog-cancel");
  byId("dialog-title").textContent = title;
  byId("dialog-text").replaceChildren(
    ...text.map((one) => (typeof one === "string" ? h("p", {}, one) : one)),
  );
  yes.textContent = confirm;
  yes.className = isDanger ? "danger" : "primary";
  setBusy(false);

  return new Promise((resolve) => {
    let isDone = false;
    let isOpen = true; // this question: there may be another by the time that `act` is done
    no.onclick = () => dialog.close();
    dialog.onclose = () => {
      isOpen = false;
      resolve(isDone);
    };
    byId("dialog-form").onsubmit = async (event) => {
      event.preventDefault();
      if (yes.getAttribute("aria-disabled") === "true") return;
      setBusy(true);
      try {
        await act();
        isDone = true;
        if (isOpen) dialog.close();
      } catch (error) {
        if (isOpen) setBusy(false, inWords(error));
        else notify(inWords(error), "bad");
      }
    };
    dialog.showModal();
    no.focus(); // the harmless answer
  });

  function setBusy(isBusy, trouble = "") {
    // Not disabled: that would lose the focus.
    yes.setAttribute("aria-disabled", String(isBusy));
    no.textContent = isBusy ? "Close" : dismiss;
    byId("dialog-error").textContent = isBusy ? "Working…" : trouble;
    byId("dialog-error").classList.toggle("calm", isBusy);
  }
}
