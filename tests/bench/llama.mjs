// One turn of llama.cpp: llama.mjs PEER_DIR MODEL.gguf THREADS PROMPT GEN DEPTH. Prints one JSON line: tokens a second of
// a prompt read from an empty cache and of generation behind DEPTH tokens, and the seconds until it was ready.
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [peer, file, ...numbers] = process.argv.slice(2);
const [threads, promptTokens, generated, depth] = numbers.map(Number);
const batch = 512;

const require = createRequire(path.join(path.resolve(peer), 'package.json'));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve('node-llama-cpp')).href);

const seconds = () => performance.now() / 1000;
const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: threads });
const start = seconds();
const model = await llama.loadModel({ modelPath: path.resolve(file), useMmap: true });
const context = await model.createContext({
  contextSize: Math.max(promptTokens, depth + generated) + batch, // it keeps some room of its own
  batchSize: batch,
  threads: { ideal: threads, min: threads },
});
const ready = seconds() - start;
const sequence = context.getSequence();

// The same tokens every time, drawn from the ordinary ones; a xorshift generator.
const vocabulary = model.fileInfo.metadata.tokenizer?.ggml?.tokens?.length ?? 256;
const ordinary = Math.max(1, Math.min(vocabulary, 199000) - 64);
let state = 12345;
function token() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % ordinary;
}
const tokens = (count) => Array.from({ length: count }, token);

// Tokens a second of one prompt and of the tokens behind `before` others.
async function turn(prompt, count, before) {
  await sequence.clearHistory();
  let from = seconds();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens(prompt));
  const promptSpeed = prompt / (seconds() - from);
  await sequence.clearHistory();
  if (before > 0) await sequence.evaluateWithoutGeneratingNewTokens(tokens(before));
  let made = 0;
  from = seconds();
  for await (const _ of sequence.evaluate([token()], { temperature: 0, yieldEogToken: true }))
    if (++made >= count) break;
  return { prompt_tps: promptSpeed, gen_tps: made / (seconds() - from) };
}

await turn(Math.min(promptTokens, 64), 2, 0); // a warm-up
const result = await turn(promptTokens, generated, depth);
console.log(JSON.stringify({ ...result, start_s: ready }));
process.exit(0); // without waiting for its worker threads
