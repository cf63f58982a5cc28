// node consume.js PORT COUNT STOCK PREFETCH: messages.py's consumer by amqplib, which handles up to PREFETCH messages at a time;
// each asks stock by undici.
const amqp = require('amqplib');
const undici = require('undici');

const [port, count, stock, prefetch] = process.argv.slice(2);
const client = new undici.Pool(`http://${stock}`, { connections: 10 });

(async () => {
  const connection = await amqp.connect(`amqp://guest:guest@127.0.0.1:${port}`);
  const channel = await connection.createChannel();
  await channel.prefetch(Number(prefetch));
  await channel.assertExchange('shop', 'topic', { durable: false });
  await channel.assertQueue('orders', { durable: false });
  await channel.bindQueue('orders', 'shop', 'placed.*');
  let done = 0;
  await channel.consume('orders', async (message) => {
    const id = message.properties.messageId;
    const { body } = await client.request({ path: `/stock/${id}`, method: 'GET' });
    if (await body.text() !== id) throw new Error(id);
    channel.ack(message);
    console.log(id);
    done += 1;
    if (done === Number(count)) {
      // What was acknowledged is sent before.
      await channel.close();
      await connection.close();
      await client.close();
    }
  });
  console.log('listening');
})();
