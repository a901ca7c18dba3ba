// Sends a request to each URL with Node's http, which finds its proxy by itself.
// Arguments: method, body, header or "-", URLs. Prints a line for each: status and message id.
import http from "node:http";
import { once } from "node:events";

const [method, body, header, ...urls] = process.argv.slice(2);
const headers = header === "-" ? {} : Object.fromEntries([header.split(": ")]);
for (const url of urls) {
  const request = http.request(url, { method, headers });
  request.end(body || undefined);
  const [response] = await once(request, "response");
  response.resume();
  await once(response, "end");
  console.log(response.statusCode, response.headers["x-dispatcher-message-id"] ?? "");
}
