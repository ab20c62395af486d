// openai_responses.mjs ADDRESS: /v1/responses as programs use it that are written with the package "openai", against the
// demo model.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const model = 'Gpt-Oss-Demo';
const client = new OpenAI({baseURL: `${process.argv[2]}/v1`, apiKey: 'none', maxRetries: 0});
const create = (more) => client.responses.create({model, temperature: 0, input: 'What is 2+2?', ...more});

const whole = await create({});
assert.equal(whole.output_text, '2 + 2 = 4.');
assert.equal(whole.status, 'completed');
assert.deepEqual(whole.output.map((item) => item.type), ['reasoning', 'message']);
assert.equal(whole.usage.total_tokens, whole.usage.input_tokens + whole.usage.output_tokens);
assert.ok(whole.usage.output_tokens_details.reasoning_tokens > 0);
const kept = await client.responses.retrieve(whole.id);
assert.deepEqual(kept.output, whole.output);

// a stream, event by event
let text = '', last = -1, ended;
for await (const event of await create({stream: true})) {
    assert.equal(event.sequence_number, ++last);
    if (event.type === 'response.output_text.delta') text += event.delta;
    if (event.type === 'response.completed') ended = event.response;
}
assert.equal(text, whole.output_text);
assert.equal(ended.status, 'completed');

// and put together by the package, which checks its order
const runner = client.responses.stream({model, temperature: 0, input: 'What is 2+2?'});
let deltas = '';
runner.on('response.output_text.delta', (event) => { deltas += event.delta; });
const streamed = await runner.finalResponse();
assert.equal(deltas, whole.output_text);
assert.equal(streamed.output_text ?? streamed.output[1].content[0].text, whole.output_text);

// a conversation
const first = await create({input: 'What is the capital of France?', instructions: 'Answer.'});
const second = await create({input: 'And of Italy?', previous_response_id: first.id});
assert.equal(second.output_text, 'The capital of Italy is Rome.');
assert.equal(second.instructions, null);
const items = [];
for await (const item of client.responses.inputItems.list(second.id, {order: 'asc', limit: 2})) items.push(item.type);
assert.deepEqual(items, ['message', 'reasoning', 'message', 'message']);

const question = (await client.responses.inputItems.list(first.id)).data[0];

// the same, with the conversation kept by the client
const history = [{role: 'user', content: 'What is the capital of France?'}, ...first.output, {role: 'user', content: 'And of Italy?'}];
assert.equal((await create({input: history, store: false})).output_text, second.output_text);

// the same, with the items kept by the server
const referred = [{type: 'item_reference', id: question.id}, {type: 'item_reference', id: first.output.at(-1).id}];
assert.equal((await create({input: [...referred, {role: 'user', content: 'And of Italy?'}], store: false, instructions: null})).output_text,
    second.output_text);

// a call, its result, an answer
const tools = [{type: 'function', name: 'get_weather', description: 'Get the current weather of a city.', strict: true, parameters: {
    type: 'object', properties: {city: {type: 'string'}}, required: ['city'], additionalProperties: false}}];
const asked = await create({input: 'What is the weather in Paris?', tools, tool_choice: 'required', max_output_tokens: 400});
const call = asked.output.find((item) => item.type === 'function_call');
assert.equal(call.name, 'get_weather');
assert.equal(typeof JSON.parse(call.arguments).city, 'string');
const answered = await create({previous_response_id: asked.id, tools, tool_choice: 'none', max_output_tokens: 100,
    input: [{type: 'function_call_output', call_id: call.call_id, output: 'cold'}]});
assert.equal(answered.output.find((item) => item.type === 'function_call'), undefined);
assert.ok(answered.usage.input_tokens > asked.usage.input_tokens);

// structured output
const schema = {type: 'object', properties: {yes: {type: 'boolean'}}, required: ['yes'], additionalProperties: false};
const format = {type: 'json_schema', name: 'reply', strict: true, schema};
const formed = await client.responses.parse({model, temperature: 0, input: 'Is it?', max_output_tokens: 400, text: {format}});
assert.equal(typeof JSON.parse(formed.output_text).yes, 'boolean');

// in the background: polled, and followed from where an earlier stream broke off
let polled = await create({background: true});
assert.equal(polled.status, 'queued');
while (['queued', 'in_progress'].includes(polled.status)) polled = await client.responses.retrieve(polled.id);
assert.equal(polled.output_text, whole.output_text);
let id, seen;
for await (const event of await create({background: true, stream: true})) {
    id ??= event.response.id;
    seen = event.sequence_number;
    if (seen === 5) break; // the connection is closed
}
for await (const event of await client.responses.retrieve(id, {stream: true, starting_after: seen})) {
    assert.equal(event.sequence_number, ++seen);
    ended = event.response ?? ended;
}
assert.equal(ended.id, id);
assert.equal(ended.status, 'completed');

// cancelled, unless it was faster
const long = await create({background: true});
const cancelled = await client.responses.cancel(long.id);
assert.ok(['cancelled', 'completed'].includes(cancelled.status));
assert.equal((await client.responses.cancel(long.id)).status, cancelled.status);

// deleted
await client.responses.delete(long.id);
await assert.rejects(client.responses.retrieve(long.id), OpenAI.NotFoundError);

// refused
await assert.rejects(create({previous_response_id: 'resp_0'}), (error) =>
    error instanceof OpenAI.BadRequestError && error.param === 'previous_response_id' && error.code === 'previous_response_not_found');
await assert.rejects(create({tools: [{type: 'web_search'}]}), (error) => error.param === 'tools[0].type');
await assert.rejects(client.responses.cancel(whole.id), OpenAI.BadRequestError);
