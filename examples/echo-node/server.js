// An echo in Node.js: what a package.json with a start script becomes. It listens on $HOST:$PORT.
import { createServer } from "node:http";

const VERSION = "1";
const LIMIT = 100 * 2 ** 20; // bytes; the gateway's own default

const send = (response, status, document, type = "application/json") => {
  const body = JSON.stringify(document);
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(body);
};

const refuse = (response, status, title, detail) =>
  send(response, status, { type: "about:blank", title, status, detail }, "application/problem+json");

const read = async (request) => {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > LIMIT) return null;
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
};

const predict = async (request, response) => {
  const body = await read(request);
  if (body === null) return refuse(response, 413, "Payload too large", `more than ${LIMIT} bytes`);
  try {
    send(response, 200, { version: VERSION, runtime: `node ${process.version}`, got: JSON.parse(body || "{}") });
  } catch (error) {
    refuse(response, 422, "Invalid input", `not JSON: ${error.message}`);
  }
};

const routes = {
  "POST /predict": predict,
  "GET /health": (_, response) => send(response, 200, { status: "ok" }),
  "GET /info": (_, response) => send(response, 200, { name: process.env.ALGODOCK_NAME ?? "echo-node", version: VERSION }),
};

const server = createServer(async (request, response) => {
  const path = request.url.split("?")[0];
  const route = routes[`${request.method} ${path}`];
  if (!route) return refuse(response, 404, "Not found", `${request.method} ${path} is not served here`);
  try {
    await route(request, response);
  } catch (error) {
    console.error(error);
    if (!response.headersSent) refuse(response, 500, "The algorithm failed", `${error.name}: ${error.message}`);
  }
});
server.keepAliveTimeout = 75_000; // longer than a proxy keeps its idle connections

const host = process.env.HOST ?? "127.0.0.1";
const port = Number(process.env.PORT ?? 8000);
server.listen(port, host, () => console.log(`listening on ${host}:${port}`));

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
