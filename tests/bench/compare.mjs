// The turns behind tests/bench/compare, which checks its arguments: compare.mjs PROGRAM PEER_DIR MODEL.gguf [--NAME VALUE].
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const [program, peer, model, ...rest] = process.argv.slice(2);
const settings = { threads: '2', prompt: '512', gen: '32', depth: '0', rounds: '3' };
for (let i = 0; i < rest.length; i += 2) settings[rest[i].slice(2)] = rest[i + 1];
const llama = fileURLToPath(new URL('llama.mjs', import.meta.url));

// Runs a command and returns the JSON of its last line.
function run(name, command, args) {
  const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] });
  if (done.error || done.status !== 0) {
    process.stderr.write((done.stderr ?? '').split('\n').slice(-15).join('\n'));
    console.error(`compare: ${name} failed: ${done.error?.message ?? `exit status ${done.status ?? done.signal}`}`);
    process.exit(1);
  }
  const line = done.stdout.trim().split('\n').pop();
  try {
    return JSON.parse(line);
  } catch {
    console.error(`compare: ${name} ended without a result; its last line is: ${line}`);
    process.exit(1);
  }
}

// Prompts are read from an empty cache on both sides; only generation happens at --depth.
function ours(threads) {
  const common = ['bench', '--gguf', model, '--threads', threads, '--reps', '1', '--json'];
  const prompt = run('gptoss-dist', program, [...common, '--prompt', settings.prompt, '--gen', '0']);
  const gen = run('gptoss-dist', program, [...common, '--prompt', '0', '--gen', settings.gen, '--depth', settings.depth]);
  return { ...gen, prompt_tps: prompt.prompt_tps };
}

const theirs = (threads) =>
  run('llama.cpp', process.execPath, [llama, peer, model, threads, settings.prompt, settings.gen, settings.depth]);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function spread(turns, key) {
  const values = turns.map((turn) => turn[key]);
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

// Whoever goes first alternates, so that a machine that changes its speed favours nobody.
function takeTurns(threads) {
  const turns = { ours: [], llama: [] };
  for (let round = 0; round < Number(settings.rounds); round++) {
    process.stderr.write(`threads ${threads}, round ${round + 1} of ${settings.rounds}\n`);
    const order = [() => turns.ours.push(ours(threads)), () => turns.llama.push(theirs(threads))];
    for (const turn of round % 2 ? order.reverse() : order) turn();
  }
  return turns;
}

const rows = [];
let info;
for (const threads of settings.threads.split(',')) {
  const turns = takeTurns(threads);
  info ??= turns.ours[0];
  const kinds = [
    [`prompt ${settings.prompt}, tokens/s`, 'prompt_tps'],
    [`generate ${settings.gen} at ${settings.depth}, tokens/s`, 'gen_tps'],
    ['start, seconds', 'start_s'],
  ];
  for (const [work, key] of kinds) {
    const a = spread(turns.ours, key), b = spread(turns.llama, key);
    rows.push({ work, threads: Number(threads), ours: a, llama: b, ratio: a.median / b.median });
  }
  const reached = turns.ours.map((t) => (t.gen_tps * t.bytes_per_token) / (t.read_gbps * 1e9));
  rows[rows.length - 2].share = median(reached);
}

if (settings.json) {
  console.log(JSON.stringify({ model: path.basename(model), isa: info.isa, bytes_per_token: info.bytes_per_token, rows }));
} else {
  const show = (s) => `${s.median.toFixed(2)} (${s.min.toFixed(2)} to ${s.max.toFixed(2)})`;
  console.log(`${path.basename(model)}: medians (least to most) of ${settings.rounds} turns each; kernels ${info.isa}\n`);
  console.log(`| ${'work'.padEnd(32)} | threads | ${'gptoss-dist'.padEnd(27)} | ${'llama.cpp'.padEnd(27)} | ratio | share of read |`);
  console.log(`|${'-'.repeat(34)}|---------|${'-'.repeat(29)}|${'-'.repeat(29)}|-------|---------------|`);
  for (const r of rows) {
    const share = r.share === undefined ? '' : `${(100 * r.share).toFixed(0)} %`;
    console.log(`| ${r.work.padEnd(32)} | ${String(r.threads).padStart(7)} | ${show(r.ours).padEnd(27)} | ` +
      `${show(r.llama).padEnd(27)} | ${r.ratio.toFixed(2).padStart(5)} | ${share.padStart(13)} |`);
  }
}
