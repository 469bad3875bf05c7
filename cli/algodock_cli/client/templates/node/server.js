// {{name}}: a Node.js service; it listens on $HOST:$PORT.
import { createServer } from "node:http";

const predict = ({ input_data = [], batch_id = "" }) => ({ batch_id, results: input_data.map((text) => text.length) });

const answer = (response, status, document) => {
  response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json" });
  response.end(JSON.stringify(document));
};

const server = createServer(async (request, response) => {
  const route = `${request.method} ${request.url.split("?")[0]}`;
  if (route === "GET /health") return answer(response, 200, { status: "ok" });
  if (route === "GET /info") return answer(response, 200, { name: "{{name}}", version: "0.1.0" });
  if (route !== "POST /predict") return answer(response, 404, { title: "Not found", status: 404, detail: route });
  const parts = [];
  for await (const part of request) parts.push(part);
  try {
    answer(response, 200, predict(JSON.parse(Buffer.concat(parts).toString("utf8") || "{}")));
  } catch (error) {
    answer(response, 422, { title: "Invalid input", status: 422, detail: String(error) });
  }
});

server.listen(Number(process.env.PORT ?? 8000), process.env.HOST ?? "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
