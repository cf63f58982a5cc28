// node ask.js LIBRARY ADDRESS PLAN CONCURRENCY: the requests of a plan, by http, fetch or http2; see ask.py.
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');

const [library, address, file, concurrency] = [process.argv[2], process.argv[3], process.argv[4], Number(process.argv[5])];
const plan = JSON.parse(fs.readFileSync(file));
const PERIOD = 251, PIECE = 10_000;
const counting = Buffer.alloc(11 * 1024 * 1024, Buffer.from(Array.from({ length: PERIOD }, (_, index) => index)));

const body = (request) => {
  const start = request.index % PERIOD;
  return counting.subarray(start, start + request.size);
};
function* pieces(content) {
  for (let start = 0; start < content.length; start += PIECE) yield content.subarray(start, start + PIECE);
}
const method = (request) => request.size === null ? 'GET' : 'POST';

// Writes in pieces, and waits where it is told to.
async function write(stream, content) {
  for (const piece of pieces(content)) {
    if (!stream.write(piece)) await new Promise((resolve) => stream.once('drain', resolve));
  }
  stream.end();
}

async function textOf(stream) {
  let text = '';
  for await (const part of stream) text += part;
  return text;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: concurrency });
const byHttp = (request) => new Promise((resolve, reject) => {
  const headers = { 'X-Index': request.index };
  if (request.size !== null && !request.chunked) headers['Content-Length'] = request.size;
  const options = { agent, method: method(request), headers };
  const sent = http.request(`http://${address}${request.path}`, options, async (response) => {
    resolve([response.statusCode, await textOf(response)]);
  });
  sent.on('error', reject);
  if (request.size === null) sent.end();
  else if (request.index % 2 === 0) sent.end(body(request));
  else write(sent, body(request));
});

const byFetch = async (request) => {
  const content = request.size === null ? undefined : request.chunked ? ReadableStream.from(pieces(body(request))) : body(request);
  const response = await fetch(`http://${address}${request.path}`,
    { method: method(request), body: content, duplex: 'half', headers: { 'X-Index': String(request.index) } });
  return [response.status, await response.text()];
};

// Streams are refused (ENHANCE_YOUR_CALM) while more MB wait to be sent: 10 unless said.
const session = library === 'http2' ? http2.connect(`http://${address}`, { maxSessionMemory: 100 }) : undefined;
const byHttp2 = (request) => new Promise((resolve, reject) => {
  const fields = { ':method': method(request), ':path': request.path, 'x-index': String(request.index) };
  if (request.size !== null && !request.chunked) fields['content-length'] = String(request.size);
  const stream = session.request(fields, { endStream: request.size === null });
  let status = 0;
  stream.on('response', (headers) => { status = headers[':status']; });
  stream.on('error', reject);
  textOf(stream).then((text) => resolve([status, text]), reject);
  if (request.size === null) return;
  if (request.index % 2 === 0) stream.end(body(request));
  else write(stream, body(request));
});

const ask = { http: byHttp, fetch: byFetch, http2: byHttp2 }[library];
async function some(part) {
  for (let at = part; at < plan.length; at += concurrency) {
    const [status, text] = await ask(plan[at]);
    if (status !== 200 || text !== 'ok') throw new Error(`${JSON.stringify(plan[at])}: ${status} ${text}`);
  }
}

Promise.all(Array.from({ length: concurrency }, (_, part) => some(part))).then(() => {
  agent.destroy();
  session?.close();
  console.log(`done ${plan.length}`);
}, (error) => { console.error(error); process.exit(1); });
