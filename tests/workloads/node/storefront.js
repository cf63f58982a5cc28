// node storefront.js PORT STOCK DATABASE CONNECTIONS: Node's http server and client, undici and pg, with pools of so many
// connections; calls in turn and side by side, by callbacks and by promises, with timers, files and names in between.
const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const timers = require('node:timers/promises');
const { crc32 } = require('node:zlib');
const pg = require('pg');
const undici = require('undici');

const [port, stock, database, connections] = process.argv.slice(2);
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

http.createServer({ keepAliveTimeout: 60000 }, async (request, response) => {
  const [, what, id] = request.url.split('/');
  try {
    response.end(await work[what](id));
  } catch (error) {
    console.error(error);
    response.statusCode = 502;
    response.end(String(error));
  }
}).listen(Number(port), '127.0.0.1', 256);
