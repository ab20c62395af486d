// openai.mjs ADDRESS: what programs do that are written with the package "openai", against the demo model.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const model = 'Gpt-Oss-Demo';
const client = new OpenAI({baseURL: `${process.argv[2]}/v1`, apiKey: 'none', maxRetries: 0});
const user = (content) => ({role: 'user', content});
const ask = (more) => client.chat.completions.create({model, temperature: 0, messages: [user('What is 2+2?')], ...more});

const models = await client.models.list();
assert.deepEqual(models.data.map((m) => m.id), [model]);
assert.equal((await client.models.retrieve(model)).id, model);

const whole = await ask({});
const text = whole.choices[0].message.content;
assert.match(text, /^2 \+ 2 = /);
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);

let content = '', usage;
for await (const chunk of await ask({stream: true, stream_options: {include_usage: true}})) {
    content += chunk.choices[0]?.delta?.content ?? '';
    usage = chunk.usage ?? usage;
}
assert.equal(content, text);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const completion = await client.completions.create({model, temperature: 0, prompt: 'What is 2+2?'});
assert.equal(completion.choices[0].text, text);

// a call, its result, an answer
const tools = [{type: 'function', function: {name: 'get_weather', description: 'Get the current weather of a city.', parameters: {
    type: 'object', properties: {city: {type: 'string'}}, required: ['city'], additionalProperties: false}}}];
const messages = [user('What is the weather in Paris?')];
const call = await ask({messages, tools, tool_choice: 'required', max_tokens: 400});
assert.equal(call.choices[0].finish_reason, 'tool_calls');
const {id, function: made} = call.choices[0].message.tool_calls[0];
assert.equal(made.name, 'get_weather');
assert.equal(typeof JSON.parse(made.arguments).city, 'string');
messages.push(call.choices[0].message, {role: 'tool', tool_call_id: id, content: 'cold'});
const answer = await ask({messages, tools, tool_choice: 'none', max_tokens: 100});
assert.equal(answer.choices[0].message.tool_calls, undefined);
assert.ok(answer.usage.prompt_tokens > call.usage.prompt_tokens);

// of several functions those that are allowed alone
const moon = {type: 'function', function: {name: 'get_moon', parameters: {type: 'object', properties: {}}}};
const allowed_tools = {mode: 'required', tools: [{type: 'function', function: {name: 'get_moon'}}]};
const allowed = await ask({messages: [messages[0]], tools: [...tools, moon], tool_choice: {type: 'allowed_tools', allowed_tools}, max_tokens: 400});
for (const one of allowed.choices[0].message.tool_calls) assert.equal(one.function.name, 'get_moon');

// the same call, streamed and put together by the package
const runner = client.chat.completions.stream({model, temperature: 0, messages: [messages[0]], tools, tool_choice: 'required', max_tokens: 400});
const streamed = await runner.finalChatCompletion();
assert.deepEqual(streamed.choices[0].message.tool_calls[0].function.arguments, made.arguments);

const schema = {type: 'object', properties: {yes: {type: 'boolean'}}, required: ['yes'], additionalProperties: false};
const formed = await ask({max_tokens: 400, response_format: {type: 'json_schema', json_schema: {name: 'reply', strict: true, schema}}});
assert.equal(typeof JSON.parse(formed.choices[0].message.content).yes, 'boolean');

await assert.rejects(ask({model: 'none'}), (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
await assert.rejects(ask({temperature: 9}), (e) => e instanceof OpenAI.BadRequestError && e.param === 'temperature');
await assert.rejects(ask({max_tokens: 9000}), (e) => e instanceof OpenAI.UnprocessableEntityError);

const aborted = await ask({stream: true, temperature: 2, max_tokens: 4000});
for await (const chunk of aborted) {
    if (chunk.choices[0].delta.content || chunk.choices[0].delta.reasoning_content) aborted.controller.abort();
}
const running = async () => /\ngptoss_requests_running (\d+)/.exec(await (await fetch(`${process.argv[2]}/metrics`)).text())[1];
for (let i = 0; i < 100 && (await running()) !== '0'; i++) await new Promise((done) => setTimeout(done, 50));
assert.equal(await running(), '0');
console.log('openai: all as it should be');
