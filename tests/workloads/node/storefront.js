// node storefront.js PORT STOCK DATABASE CONNECTIONS: Node's http server and client, undici and pg; sequential calls and calls side by side.
const http = require('node:http');
const { crc32 } = require('node:zlib');
const { setTimeout } = require('node:timers/promises');
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

async function ask(path) {
  const { statusCode, body } = await client.request({ path: `/stock/${path}`, method: 'GET' });
  if (statusCode !== 200) throw new Error(`stock: ${statusCode}`);
  return body.text();
}

const select = (text) => pool.query(`SELECT '${text}'::text`);

const work = {
  async order(id) {
    await get(`${id}/first`);
    await setTimeout(duration(id));
    await Promise.all([ask(`${id}/left`), ask(`${id}/right`), select(id)]);
    await select(`${id} last`);
    return id;
  },
  async look(id) {
    await select(id);
    return ask(`${id}/only`);
  },
};

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
