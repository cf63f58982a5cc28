// node shelf.js serve PORT | node shelf.js call ADDRESS COUNT CONCURRENCY: HTTP/2 without TLS, by Node; see go/shelf.
//
// The server also sends an interim response (early=1), trailers (trailers=1), and pushes (push=1).
const http2 = require('node:http2');
const { setTimeout } = require('node:timers/promises');

const pace = parseInt(process.env.PACE ?? '0', 10);

function serve(port) {
  const server = http2.createServer();
  server.on('stream', (stream, headers) => {
    const query = new URL(headers[':path'], 'http://x').searchParams;
    let received = 0;
    stream.on('error', () => {});
    stream.on('data', (data) => { received += data.length; });
    stream.on('end', () => {
      if (query.has('early')) stream.additionalHeaders({ ':status': 103, link: '</style.css>' });
      if (query.has('push') && stream.pushAllowed) {
        stream.pushStream({ ':path': '/pushed' }, (error, pushed) => {
          if (error) return;
          pushed.respond({ ':status': 200 });
          pushed.end('pushed');
        });
      }
      const trailers = query.has('trailers');
      stream.respond({ ':status': Number(query.get('status') ?? 200), 'x-server': 'node' }, { waitForTrailers: trailers });
      if (trailers) stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
      stream.end(query.has('length') ? Buffer.alloc(Number(query.get('length')), 'n') : String(received));
    });
  });
  server.listen(port, '127.0.0.1');
}

function call(session, number) {
  const [method, path, sent] = [
    ['GET', `/item/${number}?length=${number}`, 0],
    ['POST', `/item/${number}?trailers=1`, number * 10],
    ['HEAD', `/item/${number}?length=77`, 0],
    ['GET', `/item/${number}?status=404&length=9&early=1`, 0],
    ['PUT', `/item/${number}?length=100000`, 70000],
    ['GET', `/item/${number}?push=1&length=3`, 0],
  ][number % 6];
  const line = { at: Date.now() * 1e6, method, path, status: 0, sent, received: 0 };
  return new Promise((resolve, reject) => {
    const fields = { ':method': method, ':path': path, 'x-shop': 'corner', 'x-number': String(number) };
    const stream = session.request(fields, { endStream: sent === 0 });
    stream.on('response', (headers) => { line.status = headers[':status']; });
    stream.on('data', (data) => { line.received += data.length; });
    stream.on('error', reject);
    stream.on('close', () => resolve(line));
    if (sent > 0) stream.end(Buffer.alloc(sent, 's'));
  });
}

async function calls(address, count, concurrency) {
  const session = http2.connect(`http://${address}`);
  session.on('stream', (pushed) => pushed.resume());
  const lines = [];
  const part = async (from) => {
    for (let number = from; number < count; number += concurrency) {
      if (pace > 0) await setTimeout(pace);
      lines[number] = await call(session, number);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, (_, from) => part(from)));
  session.close();
  for (const line of lines) console.log(JSON.stringify(line));
}

if (process.argv[2] === 'serve') serve(Number(process.argv[3]));
else calls(process.argv[3], Number(process.argv[4]), Number(process.argv[5]));
