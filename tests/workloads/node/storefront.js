// node storefront.js PORT STOCK DATABASE CONNECTIONS [WAY]: Node's http server and client, undici and pg, with pools of so many
// connections; calls in turn and side by side, by callbacks and by promises, with timers, files and names in between.
//
// WAY is how it is asked: http2 without TLS, grpc (all streams of a kind share a connection), by a worker thread that serves,
// or by the main thread, which hands requests on to workers.
const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const timers = require('node:timers/promises');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');
const { crc32 } = require('node:zlib');
const pg = require('pg');
const undici = require('undici');

const WORKERS = 4;

const [port, stock, database, connections, way = 'http'] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(connections) });
const pool = new pg.Pool({ connectionString: database, max: Math.min(70, connections) });
const client = new undici.Pool(`http://${stock}`, { connections: Number(connections) });

// As long as work.py's: some are overtaken by others.
const duration = (id) => crc32(id) % 21;

function get(path) {
  return new Promise((resolve, reject) => {
    http.get(`http://${stock}/stock/${path}`, { agent }, async (response) => {
      const parts = [];
      for await (const part of response) parts.push(part);
      resolve(Buffer.concat(parts).toString());
    }).on('error', reject);
  });
}

// The same with a callback, and a name to be looked up.
function getByName(path, done) {
  const [, port] = stock.split(':');
  http.get({ host: 'localhost', port, path: `/stock/${path}`, agent }, (response) => {
    response.resume().on('end', done);
  });
}

async function ask(path) {
  const { statusCode, body } = await client.request({ path: `/stock/${path}`, method: 'GET' });
  if (statusCode !== 200) throw new Error(`stock: ${statusCode}`);
  return body.text();
}

const select = (text) => pool.query(`SELECT '${text}'::text`);

const work = {
  async order(id) {
    await get(`${id}/first`);
    await timers.setTimeout(duration(id));
    await Promise.all([ask(`${id}/left`), ask(`${id}/right`), select(id)]);
    await select(`${id} last`);
    return id;
  },
  async look(id) {
    await select(id);
    return ask(`${id}/only`);
  },
  calls: (id) => new Promise((resolve) => {
    getByName(`${id}/named`, () => {
      pool.query(`SELECT '${id} asked'::text`, () => {
        setTimeout(() => {
          getByName(`${id}/late`, () => setImmediate(() => resolve(id)));
        }, duration(id));
      });
    });
  }),
  async waits(id) {
    await timers.setTimeout(1);
    await ask(`${id}/slept`);
    await fs.promises.readFile(__filename);
    await Promise.all([select(`${id} file`), ask(`${id}/read`)]);
    await dns.promises.lookup('localhost');
    await new Promise((resolve) => fs.stat(__filename, resolve));
    await timers.setTimeout(duration(id));
    await timers.setTimeout(1);
    await ask(`${id}/again`);
    await timers.setImmediate();
    return get(`${id}/then`);
  },
  async holds(id) {
    const held = await pool.connect();
    for (const what of ['first', 'second', 'third']) await held.query(`SELECT '${id} ${what}'::text`);
    held.release();
    return ask(`${id}/released`);
  },
  async called(id) {
    await ask(`${id}/first`);
    await timers.setTimeout(duration(id));
    await select(id);
    return id;
  },
  // At most two of these at a time, as p-limit has it: who is done lets the next go on.
  async limited(id) {
    if (running === 2) await new Promise((resolve) => waiting.push(resolve));
    else running += 1;
    await ask(`${id}/alone`);
    if (waiting.length) waiting.shift()();
    else running -= 1;
    return ask(`${id}/free`);
  },
  // All that come within two milliseconds wait for the same timer.
  async batched(id) {
    batch ??= timers.setTimeout(2).then(() => { batch = undefined; });
    await batch;
    return ask(`${id}/together`);
  },
};

const waiting = [];
let running = 0;
let batch;

async function serve(request, response) {
  const [, what, id] = request.url.split('/');
  try {
    response.end(await handle(what, id));
  } catch (error) {
    console.error(error);
    response.statusCode = 502;
    response.end(String(error));
  }
}

let handle = (what, id) => work[what](id);

function listen(server) {
  server.listen(Number(port), '127.0.0.1', 256);
}

const start = () => new Worker(__filename, { argv: process.argv.slice(2) });

// The main thread reads requests and answers them; a worker does what there is to be done.
function handOn() {
  const waiting = new Map();
  const workers = Array.from({ length: WORKERS }, start);
  for (const worker of workers) {
    worker.on('message', ({ number, body }) => {
      waiting.get(number)(body);
      waiting.delete(number);
    });
  }
  let count = 0;
  return (what, id) => new Promise((resolve) => {
    count += 1;
    waiting.set(count, resolve);
    workers[count % WORKERS].postMessage({ number: count, what, id });
  });
}

// Any method of the services `call` and `watch`: its name is the request's id.
function serveCalls() {
  const grpc = require('@grpc/grpc-js');
  const nothing = Buffer.alloc(0);
  const handlers = {
    call: (id) => ({
      type: 'unary',
      func: (call, done) => work.called(id).then(() => done(null, nothing), done),
    }),
    watch: (id) => ({
      type: 'serverStream',
      func: async (call) => {
        for (const number of [0, 1, 2]) {
          await select(`${id} ${number}`);
          call.write(nothing);
        }
        call.end();
      },
    }),
  };
  const server = new grpc.Server();
  // There is no other way to have a handler for every method.
  server.handlers.get = (path) => {
    const [, what, id] = path.split('/');
    return { path, serialize: () => nothing, deserialize: (bytes) => bytes, ...handlers[what](id) };
  };
  server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => { if (error) throw error; });
}

if (!isMainThread && way === 'workers') {
  parentPort.on('message', async ({ number, what, id }) => parentPort.postMessage({ number, body: await work[what](id) }));
} else if (isMainThread && way === 'worker') {
  start();
} else if (way === 'grpc') {
  serveCalls();
} else if (way === 'http2') {
  listen(http2.createServer(serve));
} else {
  if (way === 'workers') handle = handOn();
  listen(http.createServer({ keepAliveTimeout: 60000 }, serve));
}
