// node parcels.js ADDRESS COUNT CONCURRENCY: messages of every outcome through amqplib.
//
// Each of CONCURRENCY connections publishes its part of COUNT messages on two channels in turn, without waiting, and
// consumes them on a third. At the end a line of JSON for each message published, delivered and got.
const amqp = require('amqplib');

const [address, count, concurrency] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const EXCHANGE = 'parcels', KINDS = 6;
const told = [];

function tell(operation, fields, id, size, more) {
  told.push({ operation, exchange: fields.exchange, key: fields.routingKey, queue: null, id, size, tag: null,
    redelivered: false, settled: null, error: null, ...more });
}

// How a delivery is told, but for what is done with it.
function tellOf(operation, message, queue, settled) {
  const { deliveryTag: tag, redelivered } = message.fields;
  tell(operation, message.fields, message.properties.messageId, message.content.length, { queue, tag, redelivered, settled });
}

async function calls(part) {
  const connection = await amqp.connect(`amqp://${address}?frameMax=8192`);
  const senders = [await connection.createConfirmChannel(), await connection.createConfirmChannel()];
  const [receiver, other] = [await connection.createChannel(), await connection.createChannel()];
  const returned = new Set();
  for (const sender of senders) sender.on('return', message => returned.add(message.properties.messageId));
  const publish = (sender, exchange, routingKey, id, size, options = {}) => new Promise(resolve => {
    const properties = { messageId: id, correlationId: id, headers: { d: new Date(0), f: 1.5, big: 2 ** 40 }, ...options };
    sender.publish(exchange, routingKey, Buffer.alloc(size, 0xce), properties, failed => {
      const error = returned.has(id) ? '312' : failed ? 'nack' : null;
      tell('publish', { exchange, routingKey }, id, size, { error });
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
  const held = [];
  await receiver.consume(queue, message => {
    const kind = Number(message.properties.messageId.split('-')[2]) % KINDS;
    if (kind === 5 && !message.fields.redelivered) {
      receiver.nack(message, false, true);
      tellOf('deliver', message, queue, 'nack');
      return;
    }
    due -= 1;
    if (kind === 1 && due > 0) {
      held.push(message);
      return;
    }
    if (kind === 0 && due > 0) {
      receiver.ack(message);
      tellOf('deliver', message, queue, 'ack');
    } else {
      receiver.ack(message, true);
      for (const one of [...held.splice(0), message]) tellOf('deliver', one, queue, 'ack');
    }
    if (due === 0) consumed();
  });

  const published = mine.map((call, at) => {
    const [id, sender] = [`amqplib-${part}-${call}`, senders[at % 2]];
    switch (call % KINDS) {
      case 0: return publish(sender, EXCHANGE, key, id, 10);
      case 1: return publish(sender, EXCHANGE, key, id, 10000);
      case 2: return publish(sender, EXCHANGE, 'nobody', id, 0, { mandatory: true });
      case 3: return publish(sender, '', box, id, 3);
      case 4: return publish(sender, '', full, id, 100);
      default: return publish(sender, EXCHANGE, key, id, 20);
    }
  });
  await Promise.all([...published, all]);
  for (;;) {
    const message = await other.get(box, { noAck: true });
    if (message === false) break;
    tellOf('get', message, box, null);
  }
  // Where there is no exchange of that name, the channel is closed.
  const failing = await connection.createConfirmChannel();
  const closed = new Promise(resolve => failing.on('error', resolve));
  failing.publish('nowhere', key, Buffer.alloc(5), { messageId: `amqplib-${part}-nowhere`, correlationId: `amqplib-${part}-nowhere` });
  const error = await closed;
  tell('publish', { exchange: 'nowhere', routingKey: key }, `amqplib-${part}-nowhere`, 5, { error: String(error.code) });
  await connection.close();
}

Promise.all(Array.from({ length: concurrency }, (_, part) => calls(part))).then(() => {
  for (const line of told) console.log(JSON.stringify(line));
});
