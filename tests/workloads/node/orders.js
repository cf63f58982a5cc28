// node orders.js call ADDRESS COUNT CONCURRENCY [KIND...]: gRPC of every kind, by @grpc/grpc-js; see go/orders.
const grpc = require('@grpc/grpc-js');

const [address, count, concurrency] = [process.argv[3], Number(process.argv[4]), Number(process.argv[5])];
const named = process.argv.slice(6);
const kinds = named.length > 0 ? named : ['One', 'List', 'Send', 'Chat', 'Fail', 'None', 'One', 'Slow'];
const client = new grpc.Client(address, grpc.credentials.createInsecure());
const same = (bytes) => bytes;
const lines = [];
const SIZES = [0, 1, 100, 4_096, 16_379, 16_384, 65_536, 200_000, 1 << 20];
const counting = Buffer.alloc(11 << 20, Buffer.from(Array.from({ length: 251 }, (_, index) => index)));

function bulk(number) {
  const place = Math.floor(number / 8), start = number % 251;
  return counting.subarray(start, start + (place % 500 === 3 ? 10 << 20 : SIZES[place % SIZES.length]));
}

function call(number, place = number) {
  const kind = kinds[number % kinds.length];
  const line = { path: `/shop.Orders/${kind}`, code: 0, sent: { Send: 4, Chat: 5 }[kind] ?? 1, received: 0 };
  const text = kind === 'Fail' ? String(Math.floor(number / 8) % 16 + 1) : number % 8 === 6 ? 'large '.repeat(15000) : 'order';
  const message = kind === 'Bulk' ? bulk(number) : Buffer.from(text);
  const deadline = Date.now() + (kind === 'Slow' ? 60 : 60000);
  lines[place] = line;
  return new Promise((resolve) => {
    const stream = client.makeBidiStreamRequest(line.path, same, same, new grpc.Metadata(), { deadline });
    stream.on('data', () => { line.received += 1; });
    stream.on('error', () => {});
    stream.on('status', (status) => { line.code = status.code; resolve(); });
    for (let at = 0; at < line.sent; at += 1) stream.write(message);
    stream.end();
  });
}

async function calls(part) {
  for (let number = part; number < count; number += concurrency) await call(number);
}

Promise.all(Array.from({ length: concurrency }, (_, part) => calls(part))).then(() => call(0, count)).then(() => {
  client.close();
  for (const line of lines) console.log(JSON.stringify(line));
});
