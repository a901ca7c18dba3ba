// Links between the pages of a list. Which page is shown stands in the address, as its filter does.

import { h } from "./dom.js";
import { addressOf, linkButton } from "./values.js";

/** Links from a page of the list at `address` (`messages`, `dead-letters/list`) with this query;
 * `next` is the cursor of the page behind, null on the last one. */
export function pages(address, query, next) {
  const at = (cursor) => addressOf(address, { ...Object.fromEntries(query), cursor });
  return h(
    "nav",
    { class: "tools", "aria-label": "Pages" },
    query.has("cursor") ? linkButton("First page", at(null)) : null,
    next === null ? null : linkButton("Next page", at(next)),
  );
}
