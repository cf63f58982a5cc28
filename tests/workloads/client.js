// node client.js URL COUNT CONNECTIONS: GET URL/0 to URL/COUNT-1 over that many kept connections.
const http = require('node:http');

const [url, count, connections] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const agent = new http.Agent({ keepAlive: true, maxSockets: connections });

const call = (index) => new Promise((resolve, reject) => {
  http.get(`${url}/${index}`, { agent }, (response) => {
    response.resume();
    response.on('end', () => response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`)));
  }).on('error', reject);
});

Promise.all(Array.from({ length: count }, (_, index) => call(index)))
  .then(() => { agent.destroy(); console.log(`done ${count}`); }, (error) => { console.error(error); process.exit(1); });
