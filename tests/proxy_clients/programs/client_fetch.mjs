// Sends a request to each URL with fetch, whose proxy is that of the environment.
// Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
import { EnvHttpProxyAgent, fetch, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());
const [method, body, header, ...urls] = process.argv.slice(2);
const headers = header === "-" ? {} : Object.fromEntries([header.split(": ")]);
for (const url of urls) {
  try {
    const response = await fetch(url, { method, headers, body: body || undefined });
    await response.arrayBuffer();
    console.log(response.status, response.headers.get("x-dispatcher-message-id") ?? "");
  } catch (error) {
    const [, status] = /\((407)\)/.exec(error.cause?.message) ?? []; // which is no answer here
    if (!status) throw error;
    console.log(status);
  }
}
