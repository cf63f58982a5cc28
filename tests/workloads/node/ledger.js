// node ledger.js URL COUNT CONCURRENCY: statements of every outcome through pg.
//
// At the end a line of JSON for each statement: its text, rows returned (null where it returns none by its nature),
// SQLSTATE of its failure.
const { Client } = require('pg');

const [url, count, concurrency] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const told = [];

async function calls(part) {
  const client = new Client({ connectionString: url });
  await client.connect();
  const execute = async (text, values, name) => {
    try {
      const result = await client.query({ text, values, name });
      told.push({ statement: text, rows: result.fields.length > 0 ? result.rows.length : null, code: null });
    } catch (error) {
      told.push({ statement: text, rows: null, code: error.code });
    }
  };
  for (let call = part; call < count; call += concurrency) {
    switch (call % 6) {
      case 0:
        await execute('SELECT id, name FROM accounts WHERE id = $1', [call % 100 + 1], 'by-id');
        break;
      case 1:
        await execute('SELECT id FROM accounts ORDER BY id LIMIT 7');
        break;
      case 2:
        // Sent at once: the driver waits for nobody.
        await Promise.all([
          execute('BEGIN'),
          execute('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [call % 100 + 1]),
          execute('COMMIT'),
        ]);
        break;
      case 3:
        await execute('SELECT 1 / ($1::int)', [0]);
        break;
      case 4:
        await execute("INSERT INTO accounts (id, name) VALUES (1, 'twice')");
        break;
      default:
        await execute("SELECT * FROM accounts WHERE name = $1 AND balance > 1e3", ["O'Brien"]);
    }
  }
  await client.end();
}

Promise.all(Array.from({ length: concurrency }, (_, part) => calls(part))).then(() => {
  for (const line of told) console.log(JSON.stringify(line));
});
