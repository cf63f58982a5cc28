// price.js PORT STOCK: /price/ID, by http, which asks STOCK for /stock/ID.
const http = require("http");

const [port, stock] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });

http
  .createServer((request, response) => {
    const id = request.url.split("/")[2];
    http
      .get(`http://${stock}/stock/${id}`, { agent }, (answer) => {
        answer.resume();
        answer.on("end", () => response.end(id));
      })
      .on("error", (error) => response.writeHead(502).end(error.message));
  })
  .listen(Number(port), "127.0.0.1");
