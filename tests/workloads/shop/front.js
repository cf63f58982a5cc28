// node front.js PORT PRICING STOCK BROKER: POST /orders asks pricing (HTTP) and stock (gRPC), and publishes the order.
//
// An ordinary service: no tracing library is in it, and nothing in its requests is there for spanwire.
const http = require('node:http');
const { randomUUID } = require('node:crypto');
const grpc = require('@grpc/grpc-js');
const amqp = require('amqplib');

const [port, pricing, stock, broker] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });
const stockClient = new grpc.Client(stock, grpc.credentials.createInsecure());

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function price(sku, quantity) {
  return new Promise((resolve, reject) => {
    http.get(`http://${pricing}/prices/${sku}?quantity=${quantity}`, { agent }, async (response) => {
      let text = '';
      for await (const part of response) text += part;
      if (response.statusCode === 404) reject(new Refused(404, `no ${sku}`));
      else if (response.statusCode !== 200) reject(new Refused(502, `pricing: ${response.statusCode}`));
      else resolve(JSON.parse(text).price);
    }).on('error', reject);
  });
}

function reserve(sku, quantity) {
  const toBytes = (value) => Buffer.from(JSON.stringify(value));
  const deadline = Date.now() + 5000;
  return new Promise((resolve, reject) => {
    const done = (error, left) => {
      if (error?.code === grpc.status.FAILED_PRECONDITION) reject(new Refused(409, error.details));
      else if (error) reject(error);
      else resolve(left);
    };
    stockClient.makeUnaryRequest('/shop.Stock/Reserve', toBytes, JSON.parse, { sku, quantity }, new grpc.Metadata(), { deadline }, done);
  });
}

async function main() {
  const connection = await amqp.connect(`amqp://${broker}`);
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange('shop', 'topic', { durable: false });

  async function order(request) {
    let text = '';
    for await (const part of request) text += part;
    const { sku, quantity } = JSON.parse(text);
    const amount = await price(sku, quantity);
    await reserve(sku, quantity);
    const id = randomUUID();
    channel.publish('shop', 'orders.placed', Buffer.from(JSON.stringify({ id, sku, quantity, amount })), { messageId: id });
    await channel.waitForConfirms();
    return { id, amount };
  }

  http.createServer(async (request, response) => {
    let status = 201, body;
    try {
      if (request.method !== 'POST' || request.url !== '/orders') throw new Refused(404, 'POST /orders');
      body = await order(request);
    } catch (error) {
      status = error.status ?? 500;
      body = { error: error.message };
      if (status === 500) console.error(error);
    }
    response.statusCode = status;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(body));
  }).listen(Number(port), '127.0.0.1');
}

main();
