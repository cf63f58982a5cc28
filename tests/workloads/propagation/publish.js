// node publish.js ADDRESS COUNT LARGE NAME: the messages of publish.py through amqplib, up to two hundred without a confirm.
const amqp = require('amqplib');

const [address, count, large, name] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4]), process.argv[5]];
const OWN = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const SIZES = [0, 1, 100, 5000, 20, 4096, 0, 131064, 300, 3, 131065, 60000, 200000];
const counting = Buffer.alloc(11 << 20, Buffer.from(Array.from({ length: 251 }, (_, index) => index)));
const ALL = {
  true: true, byte: 1, short: -300, int: 70000, long: 2 ** 40, double: 1.5, text: 'ü', bytes: Buffer.from([0, 0xce]), nothing: null,
  decimal: { '!': 'decimal', value: { places: 1, digits: 15 } }, time: { '!': 'timestamp', value: 1 }, float: { '!': 'float', value: 0.5 },
  list: [1, 'two', { q: [Buffer.from('x')] }, null], table: { traceparent: OWN, deep: { deeper: {} } },
};

const properties = (number) => [
  {},
  { contentType: 'text/plain', headers: { a: 1, b: 'x'.repeat(number % 200) } },
  { contentType: 't', contentEncoding: 'gzip', messageId: String(number), priority: 3 },
  { headers: { n: { m: [1, true, null] }, traceparent: OWN } },
  { headers: ALL, persistent: true },
  { headers: Object.fromEntries(Array.from({ length: 40 }, (_, entry) => [`x-${entry}`, entry])) },
  { contentEncoding: 'e'.repeat(255), headers: { a: 'b' }, persistent: false, priority: 9, correlationId: 'c'.repeat(255),
    replyTo: 'r', expiration: '60000', messageId: 'm', timestamp: 1, type: 't', userId: 'guest', appId: 'a' },
  { headers: { traceparent: OWN }, appId: 'a' },
  { headers: { long: 'l'.repeat(5000) } },
  { headers: {}, contentType: '' },
][number % 10];

const body = (number) => {
  const size = number < large ? 10 << 20 : SIZES[Math.floor(number / 10) % SIZES.length];
  return counting.subarray(number % 251, number % 251 + size);
};

(async () => {
  const connection = await amqp.connect(`amqp://guest:guest@${address}`);
  const channels = [];
  for (let at = 0; at < 3; at += 1) channels.push(await connection.createConfirmChannel());
  let pending = [];
  for (let number = 0; number < count; number += 1) {
    pending.push(new Promise((resolve, reject) => {
      channels[number % 3].publish('amq.topic', `${name}.${number}`, body(number), properties(number),
        (failed) => failed ? reject(failed) : resolve());
    }));
    if (pending.length === 200) {
      await Promise.all(pending);
      pending = [];
    }
  }
  await Promise.all(pending);
  await connection.close();
})();
