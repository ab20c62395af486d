// Asks a running server as many clients at once: how long they wait for their first token and for each further one, and
// whether each gets what it gets alone.
// load.mjs ADDRESS [--clients N] [--rounds N] [--tokens N] [--key KEY] [--json]
import process from 'node:process';

const [address, ...rest] = process.argv.slice(2);
const settings = { clients: 64, rounds: 2, tokens: 64, key: '', json: false };
for (let i = 0; i < rest.length; i++) {
  const name = rest[i].slice(2);
  if (!rest[i].startsWith('--') || !(name in settings)) fail(`unknown flag ${rest[i]}`);
  if (name === 'json') settings.json = true;
  else if (name === 'key') settings.key = rest[++i] ?? fail('--key wants a value');
  else if (!(Number.isInteger((settings[name] = Number(rest[++i]))) && settings[name] > 0)) fail(`${rest[i - 1]} wants a number`);
}
if (!address?.startsWith('http')) fail('usage: load.mjs http://HOST:PORT [--clients N] [--rounds N] [--tokens N] [--key KEY] [--json]');

function fail(text) {
  console.error(`load: ${text}`);
  process.exit(2);
}

// Short and long questions, conversations, raw prompts; half of them greedy, the others with a seed.
function request(i) {
  const sampling = { temperature: i % 2, seed: i, max_tokens: settings.tokens, stream: true, stream_options: { include_usage: true } };
  const question = `What is ${i % 10}+${(i * 7) % 10}?`, long = `Once upon a time number ${i} met a friend. `.repeat(8 + (i % 4) * 8);
  const user = (content) => ({ role: 'user', content });
  switch (i % 4) {
    case 0: return ['/v1/chat/completions', { ...sampling, messages: [user(question)] }];
    case 1: return ['/v1/chat/completions', { ...sampling, messages: [user(long + question)] }];
    case 2: return ['/v1/chat/completions', { ...sampling, messages: [user(question), { role: 'assistant', content: 'It is 4.' }, user('And 3+3?')] }];
    default: return ['/v1/completions', { ...sampling, prompt: question, harmony: false }];
  }
}

// Sends one and reads its stream. `times`: of each event with something of the answer in it.
async function ask(i) {
  const [path, body] = request(i), started = performance.now(), times = [];
  const headers = { 'Content-Type': 'application/json', ...(settings.key && { Authorization: `Bearer ${settings.key}` }) };
  const answer = await fetch(address + path, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`request ${i}: ${answer.status} ${await answer.text()}`);
  let reasoning = '', content = '', rest = '', usage, finish, done = false;
  const decoder = new TextDecoder();
  for await (const bytes of answer.body) {
    const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      if (event === 'data: [DONE]') done = true;
      if (!event.startsWith('data: {')) continue;
      const data = JSON.parse(event.slice(6)), choice = data.choices?.[0];
      if (data.error) throw new Error(`request ${i}: ${data.error.message}`);
      usage = data.usage ?? usage;
      finish = choice?.finish_reason ?? finish;
      const delta = choice?.delta ?? { content: choice?.text };
      if (!delta.reasoning_content && !delta.content) continue;
      times.push(performance.now() - started);
      reasoning += delta.reasoning_content ?? '';
      content += delta.content ?? '';
    }
  }
  if (!done) throw new Error(`request ${i}: its stream ended early`);
  const tokens = usage.completion_tokens, first = times[0] ?? performance.now() - started;
  return { text: JSON.stringify([reasoning, content, finish, tokens]), tokens, first, each: tokens > 1 ? (times.at(-1) - first) / (tokens - 1) : undefined };
}

function quantile(values, q) {
  const sorted = values.filter((v) => v !== undefined).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

const total = settings.clients * settings.rounds, alone = [], together = [];
try {
  for (let i = 0; i < total; i++) alone.push(await ask(i));
  const started = performance.now();
  await Promise.all(Array.from({ length: settings.clients }, async (_, client) => {
    for (let round = 0; round < settings.rounds; round++) together[client + round * settings.clients] = await ask(client + round * settings.clients);
  }));
  const seconds = (performance.now() - started) / 1000, tokens = together.reduce((sum, a) => sum + a.tokens, 0);
  const different = together.filter((a, i) => a.text !== alone[i].text).length;
  const result = {
    clients: settings.clients, requests: total, tokens, tokens_per_second: tokens / seconds,
    first_token_ms: [0.5, 0.95].map((q) => quantile(together.map((a) => a.first), q)),
    per_token_ms: [0.5, 0.95].map((q) => quantile(together.map((a) => a.each), q)),
    alone: { first_token_ms: quantile(alone.map((a) => a.first), 0.5), per_token_ms: quantile(alone.map((a) => a.each), 0.5) },
    different,
  };
  const ms = (n) => n.toFixed(1).padStart(9);
  if (settings.json) console.log(JSON.stringify(result));
  else console.log([
    `${total} requests of ${settings.clients} clients: ${tokens} tokens, ${result.tokens_per_second.toFixed(0)} tokens/s`,
    '                      p50       p95   alone, in ms',
    `first token     ${ms(result.first_token_ms[0])} ${ms(result.first_token_ms[1])} ${ms(result.alone.first_token_ms)}`,
    `each after it   ${ms(result.per_token_ms[0])} ${ms(result.per_token_ms[1])} ${ms(result.alone.per_token_ms)}`,
    different ? `${different} answers are not what the same request gets alone` : 'every answer is what the same request gets alone',
  ].join('\n'));
  process.exitCode = different ? 1 : 0;
} catch (error) {
  console.error(`load: ${error.message}${error.cause ? `: ${error.cause.message}` : ''}`);
  process.exitCode = 1;
}
