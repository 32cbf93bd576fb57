// BullMQ doing what `script/bench engine` measures of Millrace, on the same Redis: drains no-op jobs,
// then starts jobs at a steady rate. Producer and worker are processes of their own, as there. By its
// defaults it keeps the jobs that are done, as ours are kept. Prints one line of JSON.
//
// usage: node measure.mjs DRAINED SINGLE TIMED CONCURRENCY      (REDIS_URL in the environment)
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Queue, Worker } from 'bullmq';

const QUEUE = 'millrace-bench';
const BULK = 1000;
const EVERY_MS = 10;

const url = new URL(process.env.REDIS_URL);
const connection = {
  host: url.hostname,
  port: Number(url.port),
  username: decodeURIComponent(url.username),
  password: decodeURIComponent(url.password),
  db: Number(url.pathname.slice(1) || 0),
  maxRetriesPerRequest: null,
};
// Milliseconds since 1970 with a fraction, the same in every process of the machine.
const now = () => performance.timeOrigin + performance.now();

// The worker tells its parent when the jobs of a batch have ended, and when each timed one started.
async function work(concurrency) {
  let [expected, done, first] = [0, 0, 0];
  const waits = [];
  const worker = new Worker(
    QUEUE,
    async (job) => {
      const at = now();
      first ||= at;
      if (job.data.added) waits.push(at - job.data.added);
    },
    { connection, concurrency, autorun: false },
  );
  worker.on('completed', () => {
    done += 1;
    if (done !== expected) return;
    process.send({ seconds: (now() - first) / 1000, waits });
    [done, first, waits.length] = [0, 0, 0];
  });
  await worker.waitUntilReady();
  process.on('message', (message) => {
    expected = message.expected;
    if (!worker.isRunning()) worker.run();
    process.send({ ready: true });
  });
  process.send({ ready: true });
}

async function measure(drained, single, timed, concurrency) {
  const queue = new Queue(QUEUE, { connection });
  await queue.waitUntilReady();
  await queue.obliterate({ force: true });

  const singleBegan = now();
  for (let n = 0; n < single; n += 1) await queue.add('no-op', {});
  const singleSeconds = (now() - singleBegan) / 1000;

  const bulkBegan = now();
  for (let n = 0; n < drained; n += BULK) {
    await queue.addBulk(Array.from({ length: Math.min(BULK, drained - n) }, () => ({ name: 'no-op', data: {} })));
  }
  const bulkSeconds = (now() - bulkBegan) / 1000;

  const worker = fork(process.argv[1], ['worker', String(concurrency)]);
  const told = async () => (await once(worker, 'message'))[0];
  await told();
  const expect = async (expected) => {
    const ready = told();
    worker.send({ expected });
    await ready;
  };
  // Asked before the first job can end: the worker's first answer comes in the same turn.
  let [answers, waiting] = [[], []];
  worker.on('message', (message) => {
    if (message.ready) return;
    if (waiting.length > 0) waiting.shift()(message);
    else answers.push(message);
  });
  const end = () => (answers.length > 0 ? answers.shift() : new Promise((resolve) => waiting.push(resolve)));

  await expect(drained + single);
  const drain = await end();

  await expect(timed);
  await sleep(500);
  const began = now();
  for (let n = 0; n < timed; n += 1) {
    const wait = began + n * EVERY_MS - now();
    if (wait > 0) await sleep(wait);
    // Not waited for: the producer keeps its rate.
    queue.add('no-op', { added: now() });
  }
  const { waits } = await end();
  waits.sort((a, b) => a - b);
  const quantile = (share) => waits[Math.round((waits.length - 1) * share)];

  console.log(
    JSON.stringify({
      drain_rate: (drained + single) / drain.seconds,
      enqueue_rate: single / singleSeconds,
      enqueue_bulk_rate: drained / bulkSeconds,
      start_p50_ms: quantile(0.5),
      start_p99_ms: quantile(0.99),
    }),
  );
  worker.kill();
  await queue.obliterate({ force: true });
  await queue.close();
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'worker') await work(Number(rest[0]));
else await measure(...[mode, ...rest].map(Number));
