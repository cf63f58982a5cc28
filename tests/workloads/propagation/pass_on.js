// pass_on.js PORT TARGET: what is asked of it, it asks of TARGET, with no header of who asked, but one that X-With says: NAME=VALUE.
'use strict';
const http = require('http');
const [port, target] = process.argv.slice(2);
const [host, theirs] = target.split(':');
const agent = new http.Agent({ keepAlive: true });

http.createServer({ maxHeaderSize: 1 << 17 }, (request, response) => {
  const body = [];
  request.on('data', (part) => body.push(part));
  request.on('end', () => {
    const headers = {};
    const given = request.headers['x-with'];
    if (given) headers[given.split('=')[0]] = given.slice(given.indexOf('=') + 1);
    if (request.method === 'POST') headers['content-length'] = request.headers['content-length'];
    const options = { agent, host, port: theirs, path: request.url, method: request.method, headers };
    const asked = http.request(options, (answer) => {
      answer.on('data', (part) => response.write(part));
      answer.on('end', () => response.end());
    });
    asked.on('error', (error) => { response.statusCode = 502; response.end(String(error)); });
    asked.end(Buffer.concat(body));
  });
}).listen(Number(port), '127.0.0.1');
