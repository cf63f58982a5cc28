// node parcels.js ADDRESS COUNT CONCURRENCY: messages of every outcome through amqplib.
//
// Each of CONCURRENCY connections publishes its part of COUNT messages on two channels in turn, without waiting but for
// PACE, and consumes them on a third. At the end a line of JSON for each message published, delivered and got, and when
// that began: of a delivery, when it was published.
const amqp = require('amqplib');
const { setTimeout } = require('node:timers/promises');

const [address, count, concurrency] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const pace = parseInt(process.env.PACE ?? '0', 10);
const EXCHANGE = 'parcels', KINDS = 6;
const told = [];

function tell(at, operation, fields, id, size, more) {
  told.push({ at: at * 1e6, operation, exchange: fields.exchange, key: fields.routingKey, queue: null, id, size, tag: null,
    redelivered: false, settled: null, error: null, ...more });
}

// How a delivery is told, but for what is done with it.
function tellOf(at, operation, message, queue, settled) {
  const { deliveryTag: tag, redelivered } = message.fields;
  const { messageId } = message.properties;
  tell(at, operation, message.fields, messageId, message.content.length, { queue, tag, redelivered, settled });
}

async function calls(part) {
  const connection = await amqp.connect(`amqp://${address}?frameMax=8192`);
  const senders = [await connection.createConfirmChannel(), await connection.createConfirmChannel()];
  const [receiver, other] = [await connection.createChannel(), await connection.createChannel()];
  const returned = new Set();
  for (const sender of senders) sender.on('return', message => returned.add(message.properties.messageId));
  const publish = (sender, exchange, routingKey, id, size, options = {}) => new Promise(resolve => {
    const at = Date.now();
    const properties = { messageId: id, correlationId: id, headers: { d: new Date(0), f: 1.5, at }, ...options };
    sender.publish(exchange, routingKey, Buffer.alloc(size, 0xce), properties, failed => {
      const error = returned.has(id) ? '312' : failed ? 'nack' : null;
      tell(at, 'publish', { exchange, routingKey }, id, size, { error });
      resolve();
    });
  });

  const [queue, key, full] = [`amqplib-${part}`, `amqplib-key-${part}`, `amqplib-full-${part}`];
  await receiver.assertExchange(EXCHANGE, 'direct', { durable: false });
  await receiver.assertQueue(queue, { exclusive: true });
  await receiver.bindQueue(queue, EXCHANGE, key);
  await receiver.assertQueue(full, { exclusive: true, maxLength: 1, arguments: { 'x-overflow': 'reject-publish' } });
  const box = (await other.assertQueue('', { exclusive: true })).queue;

  const mine = [];
  for (let call = part; call < count; call += concurrency) mine.push(call);
  let due = mine.filter(call => [0, 1, 5].includes(call % KINDS)).length, consumed;
  const all = new Promise(resolve => { consumed = resolve; });
  if (due === 0) consumed();
  const held = [], delivered = (message, settled) => tellOf(message.properties.headers.at, 'deliver', message, queue, settled);
  await receiver.consume(queue, message => {
    const kind = Number(message.properties.messageId.split('-')[2]) % KINDS;
    if (kind === 5 && !message.fields.redelivered) {
      receiver.nack(message, false, true);
      delivered(message, 'nack');
      return;
    }
    due -= 1;
    if (kind === 1 && due > 0) {
      held.push(message);
      return;
    }
    if (kind === 0 && due > 0) {
      receiver.ack(message);
      delivered(message, 'ack');
    } else {
      receiver.ack(message, true);
      for (const one of [...held.splice(0), message]) delivered(one, 'ack');
    }
    if (due === 0) consumed();
  });

  const send = (call, index) => {
    const [id, sender] = [`amqplib-${part}-${call}`, senders[index % 2]];
    switch (call % KINDS) {
      case 0: return publish(sender, EXCHANGE, key, id, 10);
      case 1: return publish(sender, EXCHANGE, key, id, 10000);
      case 2: return publish(sender, EXCHANGE, 'nobody', id, 0, { mandatory: true });
      case 3: return publish(sender, '', box, id, 3);
      case 4: return publish(sender, '', full, id, 100);
      default: return publish(sender, EXCHANGE, key, id, 20);
    }
  };
  const published = [];
  for (const [index, call] of mine.entries()) {
    if (pace > 0) await setTimeout(pace);
    published.push(send(call, index));
  }
  await Promise.all([...published, all]);
  for (;;) {
    const at = Date.now();
    const message = await other.get(box, { noAck: true });
    if (message === false) break;
    tellOf(at, 'get', message, box, null);
  }
  // Where there is no exchange of that name, the channel is closed.
  const failing = await connection.createConfirmChannel();
  const closed = new Promise(resolve => failing.on('error', resolve));
  const at = Date.now();
  failing.publish('nowhere', key, Buffer.alloc(5), { messageId: `amqplib-${part}-nowhere`, correlationId: `amqplib-${part}-nowhere` });
  const error = await closed;
  tell(at, 'publish', { exchange: 'nowhere', routingKey: key }, `amqplib-${part}-nowhere`, 5, { error: String(error.code) });
  await connection.close();
}

Promise.all(Array.from({ length: concurrency }, (_, part) => calls(part))).then(() => {
  for (const line of told) console.log(JSON.stringify(line));
});
