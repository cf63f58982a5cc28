// node server.js PORT: answers with what the path asks for.
//   /…?length=N    N bytes with Content-Length     /…?chunked=N   N bytes, chunked, in writes of 1,000
//   /…?status=S    that status                     upgrade        101 and an echo of whatever comes
const http = require('node:http');
const crypto = require('node:crypto');

const server = http.createServer((request, response) => {
  const query = new URL(request.url, 'http://x').searchParams;
  let received = 0;
  request.on('data', (data) => { received += data.length; });
  request.on('end', () => {
    response.statusCode = Number(query.get('status') ?? 200);
    if (query.has('chunked')) {
      let left = Number(query.get('chunked'));
      const next = () => {
        if (left === 0) return response.end();
        const size = Math.min(left, 1000);
        left -= size;
        response.write('c'.repeat(size), next);
      };
      return next();
    }
    response.end(query.has('length') ? Buffer.alloc(Number(query.get('length')), 'n') : String(received));
  });
});

server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.pipe(socket);
  socket.on('error', () => {});
});

server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), '127.0.0.1');
